use super::*;

struct Made(tempfile::TempDir);

impl Made {
    fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        made.put("net.core.somaxconn", "128");
        made.put("net.ipv4.tcp_mem", "1\t2\t3");
        made
    }

    fn put(&self, id: &str, value: &str) {
        let path = self.0.path().join(setting_path(id));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value).unwrap();
    }

    fn get(&self, id: &str) -> String {
        Root::new(self.0.path()).text(&setting_path(id)).unwrap()
    }

    fn journal(&self) -> Result<Journal, Trouble> {
        Journal::open(&Root::new(self.0.path()), &self.0.path().join("state"))
    }
}

fn changes() -> Vec<Change> {
    [("net.core.somaxconn", "128", "5000"), ("net.ipv4.tcp_mem", "1 2 3", "4 5 6")]
        .map(|(id, from, to)| Change { id: id.into(), from: from.into(), to: to.into() })
        .to_vec()
}

fn files() -> Vec<Lasting> {
    vec![Lasting { path: "etc/sysctl.d/90-hawser.conf", text: "new\n".into() }]
}

#[test]
fn what_was_applied_is_taken_back_to_the_letter() {
    let made = Made::new();
    let journal = made.journal().unwrap();
    journal.prepare(&changes(), &files(), None).unwrap();
    journal.make().unwrap();
    assert_eq!(made.get("net.core.somaxconn"), "5000");
    let file = made.0.path().join("etc/sysctl.d/90-hawser.conf");
    assert_eq!(fs::read_to_string(&file).unwrap(), "new\n");
    journal.roll_back(false).unwrap();
    assert_eq!(made.get("net.core.somaxconn"), "128");
    assert_eq!(made.get("net.ipv4.tcp_mem"), "1 2 3");
    assert!(!file.exists());
    assert_eq!(journal.roll_back(false), Err(Trouble::Nothing));
}

#[test]
fn an_apply_that_was_killed_between_two_changes_is_taken_back() {
    let made = Made::new();
    let journal = made.journal().unwrap();
    journal.prepare(&changes(), &files(), None).unwrap();
    // The first change was made, then the process was killed.
    made.put("net.core.somaxconn", "5000");
    drop(journal);
    let journal = made.journal().unwrap();
    let again = journal.prepare(&changes(), &files(), None);
    assert_eq!(again, Err(Trouble::Open(State::Prepared)));
    journal.roll_back(false).unwrap();
    assert_eq!(
        (made.get("net.core.somaxconn"), made.get("net.ipv4.tcp_mem")),
        ("128".into(), "1\t2\t3".into())
    );
}

#[test]
fn two_at_once_are_refused_and_the_first_goes_on() {
    let made = Made::new();
    let journal = made.journal().unwrap();
    assert_eq!(made.journal().map(|_| ()), Err(Trouble::Busy));
    journal.prepare(&changes(), &[], None).unwrap();
    journal.make().unwrap();
    drop(journal);
    let second = made.journal().unwrap();
    assert_eq!(second.prepare(&changes(), &[], None), Err(Trouble::Open(State::Applied)));
}

#[test]
fn a_value_somebody_else_has_set_since_is_left_and_named() {
    let made = Made::new();
    let journal = made.journal().unwrap();
    journal.prepare(&changes(), &[], None).unwrap();
    journal.make().unwrap();
    made.put("net.core.somaxconn", "7777");
    let foreign = Trouble::Foreign(vec!["net.core.somaxconn".into()]);
    assert_eq!(journal.roll_back(false), Err(foreign));
    assert_eq!(
        (made.get("net.core.somaxconn"), made.get("net.ipv4.tcp_mem")),
        ("7777".into(), "1 2 3".into())
    );
}

#[test]
fn a_change_that_fails_takes_back_those_before_it() {
    let made = Made::new();
    let journal = made.journal().unwrap();
    let mut changes = changes();
    changes.push(Change { id: "net.not.there".into(), from: String::new(), to: "1".into() });
    journal.prepare(&changes, &[], None).unwrap();
    let Err(Trouble::Failed(text)) = journal.make() else { panic!("it must fail") };
    assert!(text.contains("net/not/there"), "{text}");
    assert_eq!(made.get("net.core.somaxconn"), "128");
    assert!(!made.0.path().join(setting_path("net.not.there")).exists());
}

#[test]
fn a_timer_of_an_earlier_set_does_not_take_back_a_later_one() {
    let made = Made::new();
    let journal = made.journal().unwrap();
    let first = journal.prepare(&changes(), &[], None).unwrap();
    journal.make().unwrap();
    assert!(journal.is_unconfirmed(first));
    journal.confirm().unwrap();
    assert!(!journal.is_unconfirmed(first));
    journal.roll_back(false).unwrap();
    let second = journal.prepare(&changes(), &[], None).unwrap();
    assert!(!journal.is_unconfirmed(first) && journal.is_unconfirmed(second));
}
