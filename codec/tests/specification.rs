//! docs/protocol/native.md says what the code does: fields, kinds, error codes and the worked
//! examples are compared with the schema, the constants and the encoder.

mod samples;

use std::fmt::Write as _;

use hawser_codec::code;
use hawser_codec::frame::{FLAG_COMPRESSED, FLAG_OPTIONAL, FLAG_PAGE, PREFACE, kind};
use hawser_codec::message::{Encoder, NAME_BYTES_MAX, NOTIFY_OVERHEAD_BYTES_MAX, SYNC_LIMIT_MAX};
use samples::SAMPLES;

const SPECIFICATION: &str = include_str!("../../docs/protocol/native.md");
const SCHEMA: &str = include_str!("../schema/native.fbs");

/// Rows of the markdown tables between a heading and the next one, cells trimmed.
fn rows(heading: &str) -> Vec<Vec<&'static str>> {
    let (_, section) = SPECIFICATION
        .split_once(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("the specification has no {heading}"));
    let lines = section.lines().take_while(|line| !line.starts_with('#'));
    lines
        .filter(|line| line.starts_with('|') && !line.starts_with("|---"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// Tables of the schema with their fields and types.
fn tables() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let mut tables = Vec::new();
    for part in SCHEMA.split("\ntable ").skip(1) {
        let (name, rest) = part.split_once(" {").expect("a table has a body");
        let (body, _) = rest.split_once("\n}").expect("a body ends");
        let fields = body.lines().filter_map(|line| {
            let (declaration, _) = line.split_once(" (id:")?;
            let (name, kind) = declaration.trim().split_once(':')?;
            Some((name, kind.split(" = ").next().unwrap_or(kind)))
        });
        tables.push((name, fields.collect()));
    }
    tables
}

#[test]
fn every_table_of_the_schema_is_specified_field_by_field() {
    let tables = tables();
    assert_eq!(tables.len(), 13);
    for (table, fields) in tables {
        let specified = rows(&format!("### {table}"));
        let specified: Vec<_> = specified.iter().skip(1).map(|row| (row[0], row[1])).collect();
        assert_eq!(specified, fields, "{table}");
    }
}

#[test]
fn field_ids_of_the_schema_count_up_without_gap() {
    for part in SCHEMA.split("\ntable ").skip(1) {
        let ids = part.lines().filter_map(|line| line.split_once("(id: ")?.1.split(')').next());
        for (expected, id) in ids.enumerate() {
            assert_eq!(id, expected.to_string(), "{part}");
        }
    }
}

#[test]
fn kinds_and_flags_are_specified_with_their_numbers() {
    let kinds = [
        kind::HELLO,
        kind::WELCOME,
        kind::REQUEST,
        kind::ACKNOWLEDGE,
        kind::NOTIFY,
        kind::NOTIFY_ACKNOWLEDGE,
        kind::HEAD,
        kind::SYNC,
        kind::PAGE,
        kind::RECEIPT,
        kind::PING,
        kind::PONG,
        kind::GO_AWAY,
        kind::ERROR,
    ];
    let frames = rows("## Frames");
    for (kind, sample) in kinds.iter().zip(&SAMPLES) {
        let number = kind.to_string();
        assert!(
            frames.iter().any(|row| row[0] == number && row[1] == sample.name && row.len() == 4),
            "{} {number}",
            sample.name
        );
    }
    for (flag, name) in
        [(FLAG_OPTIONAL, "optional"), (FLAG_PAGE, "page"), (FLAG_COMPRESSED, "compressed")]
    {
        let bit = flag.to_string();
        assert!(frames.iter().any(|row| row[0] == bit && row[1] == name), "{name}");
    }
}

#[test]
fn every_error_code_is_specified_with_its_text_and_no_other() {
    let unknown = code::text(u16::MAX);
    let known = (0..=u16::MAX).filter(|code| code::text(*code) != unknown);
    let known: Vec<_> = known.map(|code| (code.to_string(), code::text(code))).collect();
    let specified = rows("## Error codes");
    let specified: Vec<_> =
        specified.iter().skip(1).map(|row| (row[0].to_owned(), row[1])).collect();
    assert_eq!(specified, known);
}

#[test]
fn limits_are_specified_with_their_numbers() {
    assert!(SPECIFICATION.contains(&format!("Names are 1 to {NAME_BYTES_MAX} bytes")));
    assert!(SPECIFICATION.contains(&format!("entries wanted, 1 to {SYNC_LIMIT_MAX}")));
    assert!(
        SPECIFICATION.contains(&format!("`frame_bytes_max` + {NOTIFY_OVERHEAD_BYTES_MAX} bytes"))
    );
}

#[test]
fn worked_examples_are_what_the_encoder_writes() {
    for (name, preface) in [("hello", true), ("request", false)] {
        let mut bytes = if preface { PREFACE.to_vec() } else { Vec::new() };
        let sample = SAMPLES.iter().find(|sample| sample.name == name).expect("there is one");
        Encoder::new().message(&mut bytes, sample.channel, sample.flags, &sample.message);
        let mut block = format!("```hex {name}\n");
        for row in bytes.chunks(16) {
            let words: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(block, "{}", words.join(" ")).expect("a string takes all");
        }
        block.push_str("```\n");
        assert!(SPECIFICATION.contains(&block), "the example should be\n{block}");
    }
}
