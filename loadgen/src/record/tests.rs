use super::*;
use crate::tally::Tally;

/// Second of the monotonic clock in which the runs of these tests begin.
const BEGAN: u64 = 100;

struct Bench {
    record: Record,
    shared: Vec<Shared>,
    tallies: Vec<Tally>,
}

impl Bench {
    fn new(workers: usize) -> Self {
        let mut bench = Self {
            record: Record::new(Stage::Deliver, 1, workers, BEGAN * US_PER_SECOND),
            shared: (0..workers).map(|_| Shared::default()).collect(),
            tallies: vec![Tally::default(); workers],
        };
        for worker in 0..workers {
            bench.tick(worker, BEGAN);
        }
        bench
    }

    /// The worker notices that this second has begun.
    fn tick(&mut self, worker: usize, second: u64) {
        let us = second * US_PER_SECOND;
        self.shared[worker].hand_over_if_due(&mut self.tallies[worker], us);
    }

    fn deliver(&mut self, worker: usize, us: u64) {
        self.tallies[worker].counters.delivered += 1;
        self.tallies[worker].counters.acknowledged += 1;
        self.tallies[worker].record(Stage::Deliver, us);
    }

    fn close(&mut self, second: u64) -> usize {
        let shared: Vec<&Shared> = self.shared.iter().collect();
        for (worker, shared) in shared.iter().enumerate() {
            self.record.take(worker, shared);
        }
        self.record.close(second * US_PER_SECOND, &shared);
        self.record.len()
    }

    fn finish(&mut self) -> Vec<Closed> {
        for (shared, tally) in self.shared.iter().zip(&mut self.tallies) {
            shared.hand_over(tally);
        }
        self.close(0);
        let shared: Vec<&Shared> = self.shared.iter().collect();
        self.record.finish(&shared);
        self.record.rows().collect()
    }
}

#[test]
fn row_is_closed_when_all_workers_have_handed_it_over() {
    let mut bench = Bench::new(2);
    bench.deliver(0, 10);
    bench.deliver(1, 30);
    bench.tick(0, BEGAN + 1);
    assert_eq!(bench.close(BEGAN + 1), 0);
    bench.tick(1, BEGAN + 1);
    assert_eq!(bench.close(BEGAN + 1), 1);
    let row = bench.record.last_row().unwrap();
    assert_eq!((row.delivered, row.p999_us), (2, Some(30)));
}

#[test]
fn starved_worker_delays_a_row_for_a_while_and_then_counts_into_the_next() {
    let mut bench = Bench::new(2);
    bench.deliver(0, 10);
    bench.deliver(1, 5_000);
    bench.tick(0, BEGAN + 1);
    assert_eq!(bench.close(BEGAN + 3), 0);
    bench.tick(0, BEGAN + 4);
    assert_eq!(bench.close(BEGAN + 4), 1);
    assert_eq!(bench.record.last_row().unwrap().delivered, 1);
    bench.tick(1, BEGAN + 5);
    bench.tick(0, BEGAN + 5);
    let rows = bench.finish();
    assert_eq!(rows.iter().map(|closed| closed.row.delivered).sum::<u64>(), 2);
    let whole = bench.record.stages()[&Stage::Deliver].quantiles;
    assert_eq!((whole.count, whole.max / 100), (2, 50));
}

#[test]
fn sum_of_all_rows_is_the_whole_run() {
    let mut bench = Bench::new(3);
    let start_us = (BEGAN + 2) * US_PER_SECOND;
    let ends_us = start_us + 5 * US_PER_SECOND;
    bench.record.schedule(start_us, start_us + US_PER_SECOND, ends_us);
    for second in BEGAN..BEGAN + 9 {
        for worker in 0..3 {
            bench.tick(worker, second);
            for number in 0..=worker as u64 {
                bench.deliver(worker, second * 7 + number * 1000);
            }
        }
        bench.close(second);
    }
    let rows = bench.finish();
    let phases: Vec<Phase> = rows.iter().map(|closed| closed.row.phase).collect();
    use Phase::{Connect, Drain, Measure, WarmUp};
    let (connect, drain) = ([Connect; 2], [Drain; 2]);
    assert_eq!(phases, [&connect[..], &[WarmUp], &[Measure; 4], &drain].concat());
    let times: Vec<f64> = rows.iter().map(|closed| closed.row.t_s).collect();
    assert_eq!(times, [-2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut sum = Latency::default();
    for (_, text) in rows.iter().flat_map(|closed| &closed.stages) {
        sum.add(&Latency::from_text(text).unwrap());
    }
    let whole = &bench.record.stages()[&Stage::Deliver];
    assert_eq!(Quantiles::from(&sum), whole.quantiles);
    assert_eq!(sum.count(), 9 * 6);
}

#[test]
fn run_of_many_hours_has_longer_rows() {
    let mut bench = Bench::new(1);
    let start_us = (BEGAN + 1) * US_PER_SECOND;
    bench.record.schedule(start_us, start_us, start_us + 4 * 7200 * US_PER_SECOND);
    for second in BEGAN..BEGAN + 10 {
        bench.tick(0, second);
        bench.deliver(0, 1);
    }
    bench.tick(0, BEGAN + 10);
    bench.close(BEGAN + 10);
    let lengths: Vec<f64> = bench.finish().iter().map(|closed| closed.row.seconds).collect();
    assert_eq!(lengths[..3], [1.0, 4.0, 4.0]);
}

#[test]
fn what_the_processes_did_is_in_the_row_of_its_second() {
    let mut bench = Bench::new(1);
    let processes = |cpu| Processes { server: Some((cpu, 77)), generator_cpu: cpu / 2.0 };
    bench.record.note(BEGAN, processes(0.5));
    bench.record.note(BEGAN + 1, processes(1.0));
    bench.tick(0, BEGAN + 2);
    bench.close(BEGAN + 2);
    let rows = bench.finish();
    assert_eq!((rows[0].row.server_cpu, rows[0].row.generator_cpu), (Some(0.5), 0.25));
    assert_eq!((rows[1].row.server_cpu, rows[1].row.server_memory_bytes), (Some(1.0), Some(77)));
}
