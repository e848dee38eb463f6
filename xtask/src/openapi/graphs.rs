//! The calls about graphs of where the host's time goes.

use super::call::{Answer, Call, Draft, text};
use super::sidecar::{ANY, get};
use trimtab_protocol::problem::ProblemKind::{self, Malformed, Unknown};
use utoipa::openapi::schema::Type;

pub(super) fn add(draft: &mut Draft) {
    let graph = "A picture, or what `format` asks for. A host that did nothing gets a picture that says so.";
    let problems = [&ANY[..], &[Malformed, Unknown]].concat();
    for (path, id, summary, parameters) in [
        (
            "/flamegraph",
            "getFlamegraph",
            "Where the host's time goes",
            [NOW, GRAPH, ANY_FORMAT].concat(),
        ),
        (
            "/flamegraph/diff",
            "getFlamegraphDifference",
            "Two remembered times compared",
            [BOTH, SHOWN, COMPARING].concat(),
        ),
        (
            "/flamegraph/change/{generation}",
            "getFlamegraphOfChange",
            "Before and after a change",
            [CHANGE, SHOWN, COMPARING].concat(),
        ),
    ] {
        draft.add(Call {
            description: "Taken from outside the host. Each picture says how complete it is and what could not be seen.",
            parameters: &parameters,
            problems: &problems,
            ..get(path, id, summary, answers("image/svg+xml", graph))
        });
    }
    others(draft, &problems);
}

fn others(draft: &mut Draft, problems: &[ProblemKind]) {
    let window = ("window", Type::Integer, "How many seconds back.");
    draft.add(Call {
        parameters: &[window],
        problems: &[&ANY[..], &[Malformed]].concat(),
        ..get(
            "/heatmap",
            "getHeatmap",
            "The remembered seconds, each with a link",
            answers("text/html", "The page."),
        )
    });
    for (path, id, summary, what) in [
        (
            "/profile/capabilities",
            "getProfileCapabilities",
            "What can be seen",
            "The ways to see into the host, best first, each with what is in its way.",
        ),
        (
            "/profile/quality",
            "getProfileQuality",
            "How good the last graphs were",
            "Each with its share of complete stacks.",
        ),
    ] {
        draft.add(Call {
            problems,
            ..get(path, id, summary, answers("application/json", what))
        });
    }
    let index = vec![(200, text("text/html", "The page."))];
    draft.add(Call {
        problems: &ANY,
        ..get(
            "/debug/pprof/",
            "getPprofIndex",
            "What there is for `go tool pprof`",
            index,
        )
    });
    let seconds = (
        "seconds",
        Type::Integer,
        "For how long, 1 to 60; 30 without it.",
    );
    draft.add(Call {
        description: "What `go tool pprof` and scrapers of profiles read.",
        parameters: &[seconds],
        problems,
        ..get(
            "/debug/pprof/profile",
            "getPprofProfile",
            "CPU time as a gzipped profile",
            answers("application/octet-stream", "The profile."),
        )
    });
}

/// The answers of a call that asks the profiler.
fn answers(media: &'static str, what: &'static str) -> Vec<(u16, Answer)> {
    let problem = "application/problem+json";
    let later = "Another one is being taken; `Retry-After` says for how long.";
    let gone = "The profiler has ended; the next call starts another.";
    vec![
        (200, text(media, what)),
        (429, text(problem, later)),
        (503, text(problem, gone)),
    ]
}

const NOW: &[(&str, Type, &str)] = &[
    (
        "seconds",
        Type::Integer,
        "For how long from now on, 1 to 60; 10 without it.",
    ),
    (
        "from",
        Type::String,
        "Instead, remembered time of the host: nanoseconds of the boot-time clock, or seconds before now as -30. Seconds are \
         remembered whole, so it begins with the one in which this lies. With `type` and `target` as they are without them.",
    ),
    ("until", Type::String, "Until here; now without it."),
];
const BOTH: &[(&str, Type, &str)] = &[
    (
        "a",
        Type::String,
        "The earlier stretch, FROM..UNTIL, written as `from` and `until` are; -60..-30 without it.",
    ),
    ("b", Type::String, "The later stretch; -30.. without it."),
];
const CHANGE: &[(&str, Type, &str)] = &[
    ("generation", Type::Integer, "The change's number."),
    (
        "instance",
        Type::String,
        "The run of the host that numbered it, as entries name it; without it the newest change of that number.",
    ),
    (
        "seconds",
        Type::Integer,
        "How many before and after it, 1 to 60; 10 without it. The one in which it was made belongs to neither.",
    ),
];
const GRAPH: &[(&str, Type, &str)] = &[
    (
        "target",
        Type::String,
        "host or self, which is the sidecar; host without it.",
    ),
    (
        "host",
        Type::String,
        "What the configuration calls the host.",
    ),
    ("type", Type::String, "cpu, offcpu or wall; cpu without it."),
    (
        "hz",
        Type::Integer,
        "Samples a second of CPU time, 1 to 1000; 99 without it.",
    ),
    (
        "thread",
        Type::String,
        "Only the threads of this name or number.",
    ),
    (
        "inlined",
        Type::Boolean,
        "Whether calls that were inlined are shown, where the program tells.",
    ),
    (
        "view",
        Type::String,
        "flame, icicle, reverse or task; flame without it.",
    ),
];
/// Of the past the host's CPU time alone is remembered, at the rate of the configuration.
const SHOWN: &[(&str, Type, &str)] = &[
    (
        "target",
        Type::String,
        "host, which is the only one that is remembered.",
    ),
    (
        "host",
        Type::String,
        "What the configuration calls the host.",
    ),
    (
        "type",
        Type::String,
        "cpu, the only kind that is remembered.",
    ),
    (
        "thread",
        Type::String,
        "Only the threads of this name or number.",
    ),
    (
        "inlined",
        Type::Boolean,
        "Whether calls that were inlined are shown, where the program tells.",
    ),
    (
        "view",
        Type::String,
        "flame, icicle, reverse or task; flame without it.",
    ),
];
const ANY_FORMAT: &[(&str, Type, &str)] = &[(
    "format",
    Type::String,
    "svg, folded, pprof, speedscope or firefox; svg without it.",
)];
const COMPARING: &[(&str, Type, &str)] = &[(
    "format",
    Type::String,
    "svg or folded, the formats of comparisons; svg without it.",
)];
