//! The heat map: a column a second, a row a fiftieth of it, and each column a link to its flame graph.

use super::link::of_change;
use super::{ask, is_of_earlier_boot, malformed, now_ns, refusal};
use crate::serve::Shared;
use crate::serve::error::Refusal;
use crate::view::Sort;
use crate::view::words::foreign;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Html;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;
use std::collections::BTreeMap;
use trimtab_flame::ask::{Ask, HeatColumn, Outcome, Stretch};
use trimtab_protocol::decision::Action;
use trimtab_protocol::view::EntryBody;

/// How far back it reaches when the caller does not say, and at most.
const WINDOW_S: u64 = 300;
const WINDOW_S_MAX: u64 = 3_600;
const SECOND_NS: u64 = 1_000_000_000;
/// A cell's sides in the picture.
const WIDTH: u64 = 4;
const HEIGHT: u64 = 5;
/// Shades, from few samples to many; readable by those who tell red from green badly.
const SHADES: [&str; 6] = [
    "#fff3c4", "#fddc7a", "#f9b233", "#ef7d1a", "#c9410f", "#7f1d0a",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::serve) struct HeatQuery {
    window: Option<u64>,
}

/// The page.
pub(in crate::serve) async fn show(
    State(shared): State<Shared>,
    query: Result<Query<HeatQuery>, QueryRejection>,
) -> Result<Html<String>, Refusal> {
    let Query(HeatQuery { window }) = query.map_err(malformed)?;
    let window_s = window.unwrap_or(WINDOW_S);
    if !(1..=WINDOW_S_MAX).contains(&window_s) {
        return Err(Refusal::Malformed(format!(
            "`window` is 1 to {WINDOW_S_MAX} seconds"
        )));
    }
    let now = now_ns(&shared);
    let stretch = Stretch {
        from_ns: now.saturating_sub(window_s * SECOND_NS),
        until_ns: now,
    };
    let (columns, hz) = match ask(&shared, Ask::Heat { stretch }).await?.outcome {
        Outcome::Heat { columns, hz } => (columns, hz),
        other => return Err(refusal(other)),
    };
    let changes = changes(&shared, stretch);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "Heat map" } }
            body {
                h1 { "The last " (window_s) " seconds" }
                @if columns.is_empty() {
                    p { "Nothing is remembered of this time: the host was idle, or the memory of the recent past is switched off \
                         (flame.remember in the configuration)." }
                } @else {
                    p { "A column is a second, from its beginning at the bottom; a darker cell had more samples, of " (hz) " a second and busy CPU. \
                         A column leads to its flame graph, a line to the graphs before and after that change." }
                    (picture(&columns, stretch, window_s, &changes))
                }
            }
        }
    };
    Ok(Html(page.into_string()))
}

/// The changes in a stretch: when, where their graphs are, and what is said of each.
fn changes(shared: &Shared, stretch: Stretch) -> BTreeMap<u64, (String, String)> {
    let view = shared.view();
    let deeds = view.hosts.values().flat_map(|host| host.deeds.iter());
    let entries = deeds
        .filter(|stored| stored.sort == Sort::Outcome)
        .filter_map(|stored| stored.entry());
    let told = entries.filter_map(|entry| match &entry.body {
        EntryBody::Outcome(outcome)
            if outcome.action == Action::Try && !is_of_earlier_boot(shared, entry.at_ms) =>
        {
            let address = of_change(outcome.generation.0, entry.instance.as_ref());
            Some((entry.moment_ns, (address, foreign(&entry.text))))
        }
        _ => None,
    });
    told.filter(|(at, _)| (stretch.from_ns..stretch.until_ns).contains(at))
        .collect()
}

fn picture(
    columns: &[HeatColumn],
    stretch: Stretch,
    window_s: u64,
    changes: &BTreeMap<u64, (String, String)>,
) -> Markup {
    let rows = columns
        .first()
        .map_or(0, |column| column.cells.len() as u64);
    let most = columns
        .iter()
        .flat_map(|column| &column.cells)
        .copied()
        .max()
        .unwrap_or(0)
        .max(1);
    let x = |at_ns: u64| at_ns.saturating_sub(stretch.from_ns) / SECOND_NS * WIDTH;
    html! {
        svg xmlns="http://www.w3.org/2000/svg" width=(window_s * WIDTH) height=(rows * HEIGHT) role="img" {
            rect width="100%" height="100%" fill="#f4f4f4" {}
            @for column in columns {
                a href={ "/flamegraph?from=" (column.from_ns) "&until=" (column.from_ns + SECOND_NS) } {
                    title { (column.cells.iter().map(|cell| u64::from(*cell)).sum::<u64>()) " samples" }
                    rect x=(x(column.from_ns)) y="0" width=(WIDTH) height="100%" fill="#ffffff" {}
                    @for (row, cell) in (0_u64..).zip(&column.cells) {
                        @if let Some(shade) = shade(*cell, most) {
                            rect x=(x(column.from_ns)) y=((rows - 1 - row) * HEIGHT) width=(WIDTH) height=(HEIGHT) fill=(shade) {}
                        }
                    }
                }
            }
            @for (at_ns, (address, text)) in changes {
                a href=(address) {
                    title { (text) }
                    rect x=(x(*at_ns)) y="0" width="2" height="100%" fill="#1d4ed8" {}
                }
            }
        }
    }
}

/// A cell's shade; nothing for no samples.
fn shade(cell: u16, most: u16) -> Option<&'static str> {
    let steps = SHADES.len();
    let at = usize::from(cell) * steps / usize::from(most);
    (cell > 0)
        .then(|| SHADES.get(at.min(steps - 1)).copied())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_samples_are_darker_and_none_is_blank() {
        assert_eq!(shade(0, 10), None);
        assert_eq!(shade(1, 10), Some(SHADES[0]));
        assert_eq!(shade(10, 10), Some(SHADES[5]));
        let order: Vec<usize> = (1..=10)
            .map(|cell| {
                SHADES
                    .iter()
                    .position(|it| Some(*it) == shade(cell, 10))
                    .unwrap()
            })
            .collect();
        assert!(order.is_sorted(), "{order:?}");
    }

    #[test]
    fn each_second_leads_to_its_graph_and_each_change_to_its_own() {
        let columns = [HeatColumn {
            from_ns: 5 * SECOND_NS,
            cells: vec![1, 0, 3],
        }];
        let stretch = Stretch {
            from_ns: 0,
            until_ns: 10 * SECOND_NS,
        };
        let changes =
            BTreeMap::from([(7 * SECOND_NS, (of_change(4, None), "grew <b>".to_owned()))]);
        let text = picture(&columns, stretch, 10, &changes).into_string();
        assert!(
            text.contains("/flamegraph?from=5000000000&amp;until=6000000000"),
            "{text}"
        );
        assert!(
            text.contains("/flamegraph/change/4") && text.contains("grew &lt;b&gt;"),
            "{text}"
        );
        assert_eq!(text.matches("height=\"5\"").count(), 2, "{text}");
    }
}
