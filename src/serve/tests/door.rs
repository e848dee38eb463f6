//! Pages for others than this machine: on every route a token is wanted, beside all that is wanted on loopback.

use super::attacks::{ATTACKED, attacks, is_protected};
use super::*;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// `anybody:` and the token, in Base64.
const BASIC: &str = "Basic YW55Ym9keTowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==";

/// Pages behind TLS, which whoever has a token of the file may see.
fn door(stage: &Stage) -> (TempDir, Router) {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("tokens");
    std::fs::write(&file, TOKEN).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let entrance = Entrance {
        scheme: Scheme::Https,
        tls: None,
        token_file: Some(file),
    };
    let router = stage.router_of(HOST.parse().unwrap(), entrance);
    (root, router)
}

fn paths() -> impl Iterator<Item = String> {
    let fill = |path: &str| path.replace("{id}", "demo").replace("{generation}", "7");
    ATTACKED.into_iter().map(fill)
}

async fn ask(router: &Router, asked: axum::http::request::Builder) -> Response {
    let asked = asked.body(Body::empty()).unwrap();
    router.clone().oneshot(asked).await.unwrap()
}

type Response = axum::http::Response<Body>;

#[tokio::test]
async fn without_a_token_of_the_file_no_route_answers() {
    let stage = Stage::new();
    let (root, router) = door(&stage);
    let longer = format!("Bearer {TOKEN}0");
    let shorter = format!("Bearer {}", &TOKEN[1..]);
    let wrong: [&[&str]; 9] = [
        &[],
        &[""],
        &["Bearer"],
        &[TOKEN],
        &[&longer],
        &[&shorter],
        &["Basic YW55Ym9keTpuZXZlcg=="],
        &["Basic %%%"],
        &[BASIC, BASIC],
    ];
    for path in paths() {
        for shown in wrong {
            let mut asked = request(&path);
            for value in shown {
                asked = asked.header(header::AUTHORIZATION, *value);
            }
            let answer = ask(&router, asked).await;
            assert_eq!(
                answer.status(),
                StatusCode::UNAUTHORIZED,
                "{shown:?} on {path}"
            );
            assert_eq!(
                answer.headers()[header::WWW_AUTHENTICATE],
                "Basic realm=\"trimtab\""
            );
            assert!(is_protected(answer.headers()), "{shown:?} on {path}");
        }
        for shown in [BASIC, &format!("bearer {TOKEN}")] {
            let asked = request(&path).header(header::AUTHORIZATION, shown);
            let status = ask(&router, asked).await.status();
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{shown} on {path}");
        }
    }
    // A line that is taken out is void at once, and so are all while others could read the file.
    let file = root.path().join("tokens");
    let livez = || request("/livez").header(header::AUTHORIZATION, BASIC);
    assert_eq!(ask(&router, livez()).await.status(), StatusCode::OK);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        ask(&router, livez()).await.status(),
        StatusCode::UNAUTHORIZED
    );
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&file, TOKEN.replace('0', "9")).unwrap();
    assert_eq!(
        ask(&router, livez()).await.status(),
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_token_opens_nothing_to_the_attacks_of_loopback() {
    let stage = Stage::new();
    let (_root, router) = door(&stage);
    for path in paths() {
        for (name, expected, attack) in attacks() {
            let asked = attack(Request::get(&path)).header(header::AUTHORIZATION, BASIC);
            let status = ask(&router, asked).await.status();
            let takes = path == guard::CHECK_PATH && name == "POST";
            let expected = if takes {
                StatusCode::BAD_REQUEST
            } else {
                expected
            };
            assert_eq!(status, expected, "{name} on {path}");
        }
    }
    for (origin, expected) in [
        ("https://127.0.0.1:7676", StatusCode::OK),
        // The same page without encryption is another origin, and who knows who wrote it.
        ("http://127.0.0.1:7676", StatusCode::FORBIDDEN),
    ] {
        let asked = request("/plain").header("origin", origin);
        let asked = asked.header(header::AUTHORIZATION, BASIC);
        assert_eq!(ask(&router, asked).await.status(), expected, "{origin}");
    }
}
