//! docs/protocol/json.md says what the code does: every example in it is read, the samples of all
//! messages stand in it as they are written, and its table names every member.

mod samples;

use hawser_codec::json::{self, Parsed};
use samples::SAMPLES;

const SPECIFICATION: &str = include_str!("../../docs/protocol/json.md");
const SCHEMA: &str = include_str!("../schema/native.fbs");

/// Lines of the fenced blocks marked `json`, each one message.
fn examples() -> Vec<&'static str> {
    let mut examples = Vec::new();
    for block in SPECIFICATION.split("\n```json\n").skip(1) {
        let (block, _) = block.split_once("\n```").expect("a block ends");
        examples.extend(block.lines());
    }
    examples
}

#[test]
fn every_example_is_read() {
    let examples = examples();
    assert!(examples.len() >= SAMPLES.len());
    for example in examples {
        let read = Parsed::read(example).and_then(|parsed| parsed.message(1).map(|_| ()));
        assert_eq!(read, Ok(()), "{example}");
    }
}

#[test]
fn every_sample_stands_there_as_it_is_written_and_is_read_back() {
    let examples = examples();
    for sample in SAMPLES {
        let mut text = Vec::new();
        json::put(&mut text, sample.channel, sample.flags, &sample.message);
        let text = String::from_utf8(text).expect("JSON is UTF-8");
        assert!(examples.contains(&text.as_str()), "{} is missing:\n{text}", sample.name);
        let parsed = Parsed::read(&text).expect("what is written is read");
        assert_eq!((parsed.channel, parsed.flags), (sample.channel, sample.flags));
        assert_eq!(parsed.message(1), Ok(sample.message));
    }
}

#[test]
fn every_field_of_the_schema_is_a_member_of_its_message() {
    for table in SCHEMA.split("\ntable ").skip(1) {
        let (name, rest) = table.split_once(" {").expect("a table has a body");
        // The body stands as `text` where it can.
        let fields = rest.lines().filter_map(|line| line.trim().split_once(':'));
        let fields = fields.map(|(field, _)| field).filter(|field| !field.contains(' '));
        for field in fields {
            let named = format!("`{field}`");
            assert!(SPECIFICATION.contains(&named), "{name}.{field} is not described");
        }
    }
}
