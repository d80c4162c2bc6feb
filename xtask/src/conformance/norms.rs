//! The statements of the norms, and the reasons why some have no test.

use std::collections::BTreeMap;
use std::fs;

use crate::process::root;

/// Directory of the lists.
pub const DIRECTORY: &str = "tests/norms";
/// Why a statement has no test: id, tab, reason.
pub const REASONS: &str = "tests/norms/reasons.txt";

/// Titles of the norms by the name of their list; a list not named here has its name as title.
const TITLES: &[(&str, &str)] = &[
    ("rfc6455", "WebSocket, RFC 6455"),
    ("rfc7692", "permessage-deflate, RFC 7692"),
    ("mqtt3", "MQTT 3.1.1"),
    ("mqtt5", "MQTT 5.0"),
];

/// One sentence of a norm that says must, must not, should or should not.
pub struct Statement {
    /// Norm, section, running number in the section.
    pub id: String,
    /// What it asks for, in our words.
    pub text: String,
    /// It binds a server; otherwise a client, an intermediary or the writer of another norm.
    pub binds_server: bool,
}

/// All statements of one norm.
pub struct Norm {
    /// Title for people.
    pub title: String,
    /// In the order of the list.
    pub statements: Vec<Statement>,
}

/// All norms.
pub struct Norms {
    /// In the order of their lists' names.
    pub norms: Vec<Norm>,
    reasons: BTreeMap<String, String>,
}

impl Norms {
    /// Reads all lists.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is none, an id there twice.
    pub fn read() -> Result<Self, String> {
        let directory = root().join(DIRECTORY);
        let fault = |error: std::io::Error| format!("{DIRECTORY}: {error}");
        let mut names = Vec::new();
        for entry in fs::read_dir(&directory).map_err(fault)? {
            let name = entry.map_err(fault)?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(".txt").map(str::to_owned));
        }
        names.sort();
        let (mut norms, mut reasons) = (Vec::new(), BTreeMap::new());
        for name in names {
            let path = directory.join(format!("{name}.txt"));
            let text = fs::read_to_string(&path).map_err(fault)?;
            let at = |line: usize| format!("{DIRECTORY}/{name}.txt:{}", line + 1);
            if name == "reasons" {
                for (number, line) in lines(&text) {
                    let (id, reason) =
                        line.split_once('\t').ok_or(format!("{}: no tab", at(number)))?;
                    if reasons.insert(id.to_owned(), reason.to_owned()).is_some() {
                        return Err(format!("{}: {id} is excused twice", at(number)));
                    }
                }
                continue;
            }
            let mut statements = Vec::new();
            for (number, line) in lines(&text) {
                statements
                    .push(statement(line).map_err(|fault| format!("{}: {fault}", at(number)))?);
            }
            let title = TITLES.iter().find(|known| known.0 == name).map_or(name.as_str(), |t| t.1);
            norms.push(Norm { title: title.to_owned(), statements });
        }
        let norms = Self { norms, reasons };
        let mut ids: Vec<_> = norms.statements().map(|statement| &statement.id).collect();
        ids.sort();
        match ids.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("{DIRECTORY}: {} stands there twice", pair[0])),
            None => Ok(norms),
        }
    }

    /// Statements of all norms.
    pub fn statements(&self) -> impl Iterator<Item = &Statement> {
        self.norms.iter().flat_map(|norm| &norm.statements)
    }

    /// The statement with this id.
    pub fn find(&self, id: &str) -> Option<&Statement> {
        self.statements().find(|statement| statement.id == id)
    }

    /// Why a statement has no test, if that is said.
    pub fn reason(&self, id: &str) -> Option<&str> {
        self.reasons.get(id).map(String::as_str)
    }

    /// A fault for each reason of what is no statement.
    pub fn stray_reasons(&self) -> Vec<String> {
        let stray = self.reasons.keys().filter(|id| self.find(id).is_none());
        stray.map(|id| format!("{REASONS}: no statement {id}")).collect()
    }
}

/// Lines with something on them, and their numbers from 0; `#` begins a remark.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}

fn statement(line: &str) -> Result<Statement, String> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [id, text, whom] = fields[..] else {
        return Err(format!("{} fields, must be id, text and whom it binds", fields.len()));
    };
    let binds_server = match whom {
        "server" => true,
        "-" => false,
        other => return Err(format!("binds {other:?}, must be \"server\" or \"-\"")),
    };
    Ok(Statement { id: id.to_owned(), text: text.to_owned(), binds_server })
}
