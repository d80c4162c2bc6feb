//! A few kills under chat; the program `torture` does as many as one likes.

use std::time::Duration;

use hawser_tests::{
    process::Setup,
    torture::{Plan, run},
};

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_by_kills_under_load() {
    let plan = Plan { kills: 3, seed: 7, pause_max: Duration::from_millis(900) };
    let outcome = run(plan, Setup::new());
    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.audited > 0 && outcome.kills == 3, "{outcome}");
}
