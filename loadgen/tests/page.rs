//! The report page from the outside: what must stand in it, and that it says the truth.

// The lint knows tests by their attribute; what they share has none.
#![allow(clippy::unwrap_used)]

mod page_sample;

use std::{fs, path::PathBuf};

use hawser_loadgen::{
    page,
    report::{Report, ThresholdResult, Verdict},
};
use page_sample::{Sample, report};

/// Leaves the page where a person can look at it, and gives it back.
fn kept(name: &str, html: String) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, &html).unwrap();
    html
}

/// The JSON that the page carries.
fn embedded(html: &str) -> serde_json::Value {
    let start = "<script type=\"application/json\" id=\"report\">";
    let (_, rest) = html.split_once(start).unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

fn figures(html: &str) -> Vec<&str> {
    let starts: Vec<_> = html.match_indices("<figure ").map(|(at, _)| at).collect();
    let ends = html.match_indices("</figure>").map(|(at, _)| at);
    starts.into_iter().zip(ends).map(|(start, end)| &html[start..end]).collect()
}

/// Texts of an SVG with their places: x, y, anchor, upright, text.
fn texts(figure: &str) -> Vec<(f64, f64, String, bool, String)> {
    let elements = figure.split("<text ").skip(1);
    elements
        .map(|element| {
            let attribute = |name: &str| {
                let (_, rest) = element.split_once(&format!("{name}=\"")).unwrap();
                rest.split_once('"').unwrap().0.to_owned()
            };
            let (head, rest) = element.split_once('>').unwrap();
            let text = rest.split_once("</text>").unwrap().0.trim().to_owned();
            let place = |name| attribute(name).parse::<f64>().unwrap() / 10.0;
            (place("x"), place("y"), attribute("text-anchor"), head.contains("rotate"), text)
        })
        .collect()
}

fn sample_pages() -> Vec<(&'static str, String)> {
    let one = report(&Sample { seed: 1, ..Sample::default() });
    let failed = failed();
    let sides: Vec<Report> = (0..10)
        .map(|run| {
            report(&Sample { seed: run, slower: 1.0 + 0.3 * (run % 2) as f64, ..Sample::default() })
        })
        .collect();
    let named: Vec<(&str, &Report)> = sides
        .iter()
        .enumerate()
        .map(|(run, report)| (["before", "after"][run % 2], report))
        .collect();
    let protocols: Vec<Report> = (0..4)
        .map(|run| {
            report(&Sample {
                seed: 20 + run,
                slower: 1.0 + 0.4 * run as f64,
                stall: run == 3,
                ..Sample::default()
            })
        })
        .collect();
    let names = ["hawser, native", "hawser, websocket", "hawser, mqtt", "mosquitto, mqtt"];
    let protocols: Vec<(&str, &Report)> = names.into_iter().zip(&protocols).collect();
    vec![
        ("one", page::render(&[("one", &one)])),
        ("failed", page::render(&[("failed", &failed)])),
        ("sides", page::render(&named)),
        ("protocols", page::render(&protocols)),
    ]
}

fn failed() -> Report {
    let mut failed = report(&Sample { seed: 2, stall: true, ..Sample::default() });
    failed.verdict = Verdict::CorrectnessFailed;
    failed.lost = 3;
    failed.reasons = vec!["3 messages acknowledged and then lost".to_owned()];
    failed.thresholds.push(ThresholdResult {
        text: "p99 < 20ms over 10s windows".to_owned(),
        held: false,
        worst: Some(845_000.0),
        at_s: Some(20.0),
    });
    failed
}

#[test]
fn every_figure_has_a_title_a_caption_and_axes_with_units() {
    for (page, html) in sample_pages() {
        let html = kept(&format!("{page}.html"), html);
        let figures = figures(&html);
        assert!(figures.len() >= 5, "{page} has {} figures", figures.len());
        for figure in figures {
            let title = figure.split_once("<h3>").unwrap().1.split_once("</h3>").unwrap().0;
            assert!(title.len() > 3, "{page}");
            let caption = figure.split_once("<figcaption>").unwrap().1;
            assert!(caption.len() > 40, "{page}: {title}");
            // The axes' names are the last texts of each direction and carry their unit.
            let texts = texts(figure);
            let across = texts.iter().filter(|text| !text.3).max_by(|a, b| a.1.total_cmp(&b.1));
            let upright: Vec<_> = texts.iter().filter(|text| text.3).collect();
            assert_eq!(upright.len(), 1, "{page}: {title}");
            let names = [&across.unwrap().4, &upright[0].4];
            for name in names {
                let has_unit = name.contains('(') || name.contains("per second");
                assert!(has_unit, "{page}: {title}: {name}");
            }
            // Ticks are there in both directions.
            assert!(texts.len() >= 2 + 2 + 2, "{page}: {title}: {texts:?}");
        }
    }
}

#[test]
fn no_two_texts_of_a_figure_overlap() {
    for (page, html) in sample_pages() {
        for figure in figures(&html) {
            let boxes: Vec<_> = texts(figure)
                .into_iter()
                .filter(|text| !text.3)
                .map(|(x, y, anchor, _, text)| {
                    // A generous width of a 12 pixel sans-serif character.
                    let width = text.replace("&apos;", "'").chars().count() as f64 * 7.0;
                    let left = match anchor.as_str() {
                        "middle" => x - width / 2.0,
                        "end" => x - width,
                        _ => x,
                    };
                    (left, y, width, text)
                })
                .collect();
            for (index, (left, y, width, text)) in boxes.iter().enumerate() {
                assert!(*left >= 0.0, "{page}: {text} leaves the figure");
                for (other_left, other_y, other_width, other) in &boxes[..index] {
                    let apart = left + width <= *other_left
                        || other_left + other_width <= *left
                        || (y - other_y).abs() >= 12.0;
                    assert!(apart, "{page}: {text} and {other}");
                }
            }
        }
    }
}

#[test]
fn the_page_carries_the_report_word_for_word() {
    let one = report(&Sample::default());
    let written: serde_json::Value = serde_json::from_str(&one.to_json()).unwrap();
    assert_eq!(embedded(&page::render(&[("one", &one)])), written);
    let other = failed();
    let both = embedded(&page::render(&[("one", &one), ("other", &other)]));
    let other: serde_json::Value = serde_json::from_str(&other.to_json()).unwrap();
    assert_eq!(both, serde_json::Value::Array(vec![written, other]));
}

#[test]
fn markup_in_names_and_commands_does_nothing() {
    let mut hostile = report(&Sample::default());
    hostile.evidence.command = "run </script><script>alert(1)</script><!--<script>".to_owned();
    hostile.reasons = vec!["<img src=x onerror=alert(1)>".to_owned()];
    hostile.verdict = Verdict::Invalid;
    let label = "\"><svg onload=alert(1)>";
    let html = page::render(&[(label, &hostile), ("other", &hostile)]);
    assert!(!html.contains("<img src=x"));
    assert!(!html.contains("<svg onload"));
    assert!(!html.contains("<script>alert"));
    let written: serde_json::Value = serde_json::from_str(&hostile.to_json()).unwrap();
    assert_eq!(embedded(&html)[0], written);
}

#[test]
fn the_page_asks_nothing_of_any_network() {
    for (page, html) in sample_pages() {
        let (before, rest) = html.split_once("<script type=\"application/json\"").unwrap();
        let after = rest.split_once("</script>").unwrap().1;
        for text in [before, after] {
            for sign in ["://", "src=", "href=", "@import", "url(", "fetch("] {
                assert!(!text.contains(sign), "{page}: {sign}");
            }
        }
    }
}

#[test]
fn a_verdict_is_told_by_word_symbol_and_colour() {
    let html = page::render(&[("failed", &failed())]);
    assert!(html.contains("<div class=\"verdict bad\""));
    assert!(html.contains("✖"));
    assert!(html.contains("Correctness failed"));
    assert!(html.contains("3 messages acknowledged and then lost"));
    assert!(html.contains("✖ failed"), "the threshold");
    assert!(html.contains("845\u{a0}ms"), "its worst window");
    let html = page::render(&[("one", &report(&Sample::default()))]);
    assert!(html.contains("<div class=\"verdict good\""));
    assert!(html.contains("✔"));
}

#[test]
fn runs_of_one_name_share_a_colour_and_what_does_not_fit_is_said() {
    let one = report(&Sample { seconds: 5, ..Sample::default() });
    let names: Vec<String> = (0..9).map(|run| format!("side {run}")).collect();
    let mut runs: Vec<_> = names.iter().map(|name| (name.as_str(), &one)).collect();
    runs.push(("side 0", &one));
    let html = page::render(&runs);
    assert!(html.contains("1 further runs are left out"));
    assert_eq!(embedded(&html).as_array().unwrap().len(), 9);
    assert_eq!(html.matches("background:var(--s0)\"></span>1 ").count(), 1);
    assert_eq!(html.matches("background:var(--s0)\"></span>9 side 0").count(), 1);
}

#[test]
fn a_report_without_messages_still_makes_a_page() {
    let mut empty = report(&Sample { seconds: 5, ..Sample::default() });
    empty.stages.clear();
    empty.series.clear();
    empty.offered = 0;
    let html = page::render(&[("empty", &empty)]);
    assert!(html.contains("</html>"));
    assert!(figures(&html).is_empty());
    assert!(page::render(&[]).contains("</html>"));
}
