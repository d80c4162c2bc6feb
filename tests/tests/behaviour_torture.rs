//! A few kills and pauses under chat; the program `torture` does as many as one likes.

use std::time::Duration;

use hawser_tests::{
    process::Setup,
    torture::{Plan, routers, run},
};

#[test]
fn nothing_acknowledged_is_lost_doubled_or_reordered_by_kills_under_load() {
    let plan = Plan { kills: 3, seed: 7, pause_max: Duration::from_millis(900) };
    let outcome = run(plan, Setup::new());
    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.audited > 0 && outcome.kills == 3, "{outcome}");
}

#[test]
fn kills_and_pauses_of_gateways_and_routers_lose_nothing_and_drop_nobody() {
    let plan = routers::Plan {
        events: 4,
        seed: 7,
        pause_max: Duration::from_millis(900),
        stopped_ms: 1000..=2000,
    };
    let outcome = routers::run(&plan, &Setup::new());
    assert!(outcome.is_clean(), "{outcome}");
    assert!(outcome.audited > 0 && outcome.under_load == 4, "{outcome}");
    let (routers, gateways) = (outcome.routers, outcome.gateways);
    assert!(routers.kills > 0 && routers.pauses > 0 && gateways.kills > 0, "{outcome}");
}
