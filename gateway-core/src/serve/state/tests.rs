use super::super::resets::{PREMATURE, WINDOW};
use super::super::time::micros;
use super::*;

const SECOND: Micros = 1_000_000;

fn state() -> ConnectionState {
    ConnectionState::new(None)
}

fn read(state: &mut ConnectionState, bytes: u64, now: Micros) {
    state.on_read(bytes, true, None, || now);
}

/// Begins a request and drops it before its response.
fn reset(state: &mut ConnectionState, now: Micros) {
    let (started, _) = state.on_request(None, || now);
    state.on_request_end(Some(started), now);
}

#[test]
fn a_head_begins_with_the_first_byte_outside_a_request() {
    let mut state = state();

    read(&mut state, 1, 1);
    read(&mut state, 1, SECOND);
    let head = Phase::ReadingHead {
        since: 1,
        last_read: SECOND,
        offset: 0,
    };
    assert_eq!(state.phase, head, "later bytes do not restart it");
    let (started, _) = state.on_request(None, || 2 * SECOND);
    read(&mut state, 1, 3 * SECOND);

    assert_eq!(started, SECOND, "the last bytes completed the head");
    assert!(state.is_serving());
    state.on_request_end(None, 4 * SECOND);
    assert_eq!(state.phase, Phase::Idle);
    assert_eq!(state.idle_since, 4 * SECOND);
}

#[test]
fn a_head_that_began_during_a_request_is_read_from_the_end_of_that_request() {
    let mut state = state();
    read(&mut state, 100, 1);
    state.on_request(None, || 1);
    read(&mut state, 10, 2);
    state.is_within_head = true;

    state.on_request_end(None, SECOND);

    let head = Phase::ReadingHead {
        since: SECOND,
        last_read: SECOND,
        offset: 110,
    };
    assert_eq!(state.phase, head);
}

#[test]
fn bytes_of_http2_do_not_begin_a_head() {
    let mut state = state();

    state.on_read(24, false, None, || 1);

    assert_eq!((state.phase, state.received), (Phase::Idle, 24));
}

#[test]
fn a_body_is_incomplete_only_when_that_is_certain() {
    let mut state = state();
    read(&mut state, 100, 1);
    state.on_request(Some(150), || 1);
    assert_eq!(state.body_incomplete_since(), Some(1));
    read(&mut state, 49, SECOND);
    assert_eq!(state.body_incomplete_since(), Some(SECOND));
    read(&mut state, 1, 2 * SECOND);
    assert_eq!(state.body_incomplete_since(), None, "it may be complete");
    state.on_request_end(None, 2 * SECOND);

    read(&mut state, 100, 3 * SECOND);
    state.on_request(Some(1000), || 3 * SECOND);
    assert!(state.body_incomplete_since().is_some());
    state.on_response();
    assert_eq!(state.body_incomplete_since(), None, "it was answered");
    state.on_request_end(None, 4 * SECOND);

    state.on_request(Some(1000), || 5 * SECOND);
    assert_eq!(state.body_incomplete_since(), None, "it was pipelined");
}

#[test]
fn bytes_are_the_codecs_own_only_while_no_response_is_unflushed() {
    let mut state = state();

    state.on_request(None, || 1);
    assert_eq!(state.output, Output::Flushed, "100 Continue, or nothing");
    state.on_response();
    state.on_flushed();
    assert_eq!(state.output, Output::Response);
    state.on_request_end(None, 2);
    assert_eq!(state.output, Output::Response, "its end may be buffered");
    state.on_flushed();
    assert_eq!(state.output, Output::Flushed);
    state.on_tunnel();
    state.on_response();
    state.on_flushed();
    assert_eq!(state.output, Output::Tunnel);
}

#[test]
fn transfer_in_a_tunnel_restarts_the_idle_time() {
    let mut state = state();
    state.on_tunnel();

    state.on_read(1, false, None, || SECOND);
    assert_eq!(state.idle_since, SECOND);
    state.on_write(true, || 2 * SECOND);
    assert_eq!(
        state.idle_since, SECOND,
        "a blocked write transfers nothing"
    );
    state.on_write(false, || 3 * SECOND);
    assert_eq!(state.idle_since, 3 * SECOND);
}

#[test]
fn a_blocked_write_lasts_from_its_first_poll_until_it_succeeds() {
    let mut state = state();

    state.on_write(true, || 1);
    state.on_write(true, || 2);
    assert_eq!(state.blocked_since, Some(1));
    state.on_write(false, || 3);
    assert_eq!(state.blocked_since, None);
}

#[test]
fn a_release_ends_unless_an_error_response_was_withheld() {
    let mut released = state();
    released.begin_release();
    released.end_release();
    let mut failed = state();
    failed.begin_release();
    failed.on_withheld(400);
    failed.end_release();

    assert_eq!(released.shutdown, Shutdown::Forward);
    assert_eq!(failed.shutdown, Shutdown::Withheld(400));
}

#[test]
fn the_last_response_is_determined_by_the_number_of_requests() {
    let mut state = ConnectionState::new(Some(2));

    state.on_request(None, || 1);
    assert_eq!(state.close_cause(), None);
    state.on_request(None, || 1);
    assert_eq!(state.close_cause(), Some(CloseCause::LastResponse));
}

#[test]
fn premature_resets_accumulate_within_a_window() {
    let mut state = state();
    let later = micros(WINDOW + PREMATURE);

    (0..100).for_each(|_| reset(&mut state, 1));
    assert_eq!(state.close_cause(), None);
    (0..100).for_each(|_| reset(&mut state, later));
    assert_eq!(state.close_cause(), None);
    reset(&mut state, later);
    assert_eq!(
        state.close_cause(),
        Some(CloseCause::Abuse("premature_resets"))
    );
    reset(&mut state, 2 * later);
    assert_eq!(
        state.close_cause(),
        Some(CloseCause::Abuse("premature_resets")),
        "it is final"
    );
}

#[test]
fn resets_are_no_abuse_while_most_requests_get_a_response() {
    let mut state = state();

    for _ in 0..1000 {
        state.on_request(None, || 1);
        state.on_response();
        state.on_request_end(None, 1);
        reset(&mut state, 1);
    }

    assert_eq!(state.close_cause(), None);
    (0..3).for_each(|_| reset(&mut state, 1));
    assert_eq!(
        state.close_cause(),
        Some(CloseCause::Abuse("premature_resets"))
    );
}

#[test]
fn late_resets_are_not_premature() {
    let mut state = state();
    let second = micros(PREMATURE);

    for n in 0..200 {
        let (started, _) = state.on_request(None, || n * second);
        state.on_request_end(Some(started), (n + 1) * second);
    }

    assert_eq!(state.close_cause(), None);
}
