//! `Sec-WebSocket-Extensions` (RFC 6455 9.1): a list of names with parameters.

use std::borrow::Cow;

/// One extension, offered or accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its parameters in the order given, repeated ones too.
    pub parameters: Vec<(&'a str, Option<Cow<'a, str>>)>,
}

/// A field's value that is no list of extensions: the handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoList;

/// A byte of a token (RFC 9110 5.6.2).
pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Appends the extensions of one field value to `list`.
///
/// # Errors
/// [`NoList`] if it does not follow the grammar.
pub fn parse<'a>(value: &'a [u8], list: &mut Vec<Extension<'a>>) -> Result<(), NoList> {
    let mut rest = Rest(std::str::from_utf8(value).map_err(|_| NoList)?);
    let before = list.len();
    loop {
        // Empty elements between commas are let be, as everywhere in HTTP.
        while rest.take(b',') {}
        if rest.is_empty() {
            return if list.len() > before { Ok(()) } else { Err(NoList) };
        }
        let mut extension = Extension { name: rest.token()?, parameters: Vec::new() };
        while rest.take(b';') {
            let name = rest.token()?;
            let value = if rest.take(b'=') { Some(rest.value()?) } else { None };
            extension.parameters.push((name, value));
        }
        list.push(extension);
        if !rest.is_empty() && !rest.take(b',') {
            return Err(NoList);
        }
    }
}

/// What of a value is still unread.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn is_empty(&mut self) -> bool {
        self.0 = self.0.trim_start_matches([' ', '\t']);
        self.0.is_empty()
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_there = !self.is_empty() && self.0.as_bytes()[0] == byte;
        if is_there {
            self.0 = &self.0[1..];
        }
        is_there
    }

    fn token(&mut self) -> Result<&'a str, NoList> {
        self.is_empty();
        let end = self.0.bytes().position(|byte| !is_token_byte(byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(end);
        self.0 = rest;
        if token.is_empty() { Err(NoList) } else { Ok(token) }
    }

    /// A token, or a quoted text that is a token once it is unquoted.
    fn value(&mut self) -> Result<Cow<'a, str>, NoList> {
        if !self.take(b'"') {
            return self.token().map(Cow::Borrowed);
        }
        let mut value = String::new();
        let mut characters = self.0.char_indices();
        while let Some((at, character)) = characters.next() {
            let plain = match character {
                '"' if value.is_empty() => return Err(NoList),
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(Cow::Owned(value));
                }
                '\\' => characters.next().ok_or(NoList)?.1,
                other => other,
            };
            if !plain.is_ascii() || !is_token_byte(plain as u8) {
                return Err(NoList);
            }
            value.push(plain);
        }
        Err(NoList)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(value: &str) -> Result<Vec<String>, NoList> {
        let mut list = Vec::new();
        parse(value.as_bytes(), &mut list)?;
        Ok(list
            .iter()
            .map(|extension| format!("{}{:?}", extension.name, extension.parameters))
            .collect())
    }

    #[test]
    fn lists_are_read_with_spaces_quotes_and_empty_elements() {
        assert_eq!(names("foo").unwrap(), ["foo[]"]);
        assert_eq!(
            names(" , foo ; a ; b = 3 ,, bar;c=\"1\\5\" ,").unwrap(),
            ["foo[(\"a\", None), (\"b\", Some(\"3\"))]", "bar[(\"c\", Some(\"15\"))]"]
        );
    }

    // norm: RFC6455-9.1-1
    #[test]
    fn what_is_no_list_is_refused() {
        for value in [
            "",
            " ",
            ",",
            "foo bar",
            "foo;",
            "foo;=1",
            "foo;a=",
            "foo;a=\"\"",
            "foo;a=\"1",
            "foo;a=\"1 2\"",
            "f\u{f6}o",
            "a/b",
        ] {
            assert_eq!(names(value), Err(NoList), "{value:?}");
        }
    }
}
