use super::*;
use crate::clock::ManualTime;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const START: i64 = 1_800_000_000 * SECOND;

fn timeline() -> (Arc<ManualTime>, Timeline) {
    let time = Arc::new(ManualTime::new(START));
    let timeline = Timeline::new(Clock::Manual(Arc::clone(&time)), Arc::default());
    (time, timeline)
}

fn row(timeline: &Timeline) -> i64 {
    timeline.settle(timeline.now_micros()) - START
}

fn steps_back(timeline: &Timeline) -> u64 {
    timeline.stats.clock_steps_back.get()
}

#[test]
fn a_clock_that_is_set_back_goes_on_at_the_rate_of_the_other() {
    let (time, timeline) = timeline();
    assert_eq!(row(&timeline), 0);
    time.advance(SECOND);
    assert_eq!(row(&timeline), SECOND);
    time.step(-HOUR);
    assert_eq!(row(&timeline), SECOND);
    time.advance(5 * SECOND);
    assert_eq!(row(&timeline), 6 * SECOND);
    time.step(-HOUR);
    time.advance(SECOND);
    assert_eq!(row(&timeline), 7 * SECOND);
    assert_eq!(steps_back(&timeline), 2);
}

#[test]
fn what_the_clock_is_set_forward_by_is_first_taken_off() {
    let (time, timeline) = timeline();
    row(&timeline);
    time.step(-HOUR);
    assert_eq!(row(&timeline), 0);
    time.advance(SECOND);
    time.step(HOUR / 2);
    // Also where nobody compared the clocks before the row.
    assert_eq!(row(&timeline), SECOND);
    time.step(HOUR);
    assert_eq!(row(&timeline), SECOND + HOUR / 2);
    assert_eq!(steps_back(&timeline), 1);
}

#[test]
fn a_step_that_the_writer_sees_between_two_rows_costs_nothing_of_the_time_between() {
    let (time, timeline) = timeline();
    row(&timeline);
    time.advance(30 * SECOND);
    time.step(-10 * SECOND);
    assert!(timeline.compare() && !timeline.compare());
    time.advance(HOUR);
    time.step(-SECOND);
    assert!(timeline.compare());
    time.advance(SECOND);
    assert_eq!(row(&timeline), HOUR + 31 * SECOND);
    assert_eq!(steps_back(&timeline), 2);
}

#[test]
fn a_thread_that_was_overtaken_and_a_clock_that_is_slowed_down_are_no_steps() {
    let (time, timeline) = timeline();
    let early = timeline.now_micros();
    time.advance(SECOND / 2);
    assert_eq!(row(&timeline), SECOND / 2);
    assert_eq!(timeline.settle(early) - START, SECOND / 2);
    for _ in 0..100 {
        time.advance(SECOND);
        time.step(-SECOND / 2_000);
        row(&timeline);
    }
    assert_eq!(steps_back(&timeline), 0);
}

#[test]
fn a_forked_process_goes_on_from_its_parents_last_row() {
    let (time, timeline) = timeline();
    time.advance(SECOND);
    row(&timeline);
    time.step(-HOUR);
    let child = Timeline::after(&timeline, Arc::default());
    assert_eq!(row(&child), SECOND);
    assert_eq!((steps_back(&child), steps_back(&timeline)), (1, 0));
    row(&timeline);
    time.advance(SECOND);
    let second = Timeline::after(&timeline, Arc::default());
    assert_eq!((row(&second), steps_back(&second)), (2 * SECOND, 0));
}

#[test]
fn rows_go_on_from_one_that_is_far_ahead() {
    let (time, timeline) = timeline();
    timeline.settle(START + HOUR);
    assert_eq!(row(&timeline), HOUR);
    time.advance(SECOND);
    assert_eq!(row(&timeline), HOUR + SECOND);
}

#[test]
fn threads_that_find_one_step_at_once_count_it_once() {
    for _ in 0..50 {
        let (time, timeline) = timeline();
        time.step(-HOUR);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| timeline.compare());
            }
        });
        assert_eq!((steps_back(&timeline), timeline.now_micros()), (1, START));
    }
}
