//! docs/protocol/http.md says what the code does: which status tells which error.

use hawser_codec::{code, http::poll};

const SPECIFICATION: &str = include_str!("../../docs/protocol/http.md");

#[test]
fn every_error_code_has_the_status_that_is_specified() {
    let (_, table) = SPECIFICATION.split_once("| code | status |").expect("the table is there");
    let mut count = 0;
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let mut cells = row.trim_matches('|').split('|');
        let (codes, status) = (cells.next().expect("codes"), cells.next().expect("a status"));
        for error in codes.split(',') {
            let error: u16 = error.trim().parse().expect("a code");
            assert_ne!(code::text(error), "unknown code", "{error}");
            assert_eq!(poll::status_of(error).to_string(), status.trim(), "{error}");
            count += 1;
        }
    }
    let known = (0..=u16::MAX).filter(|error| code::text(*error) != "unknown code").count();
    assert_eq!(count, known);
}
