use super::*;

const PERIOD: Duration = Duration::from_secs(5);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_parts(seconds, 0)
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

fn registered(node_number: u8, session_number: u8) -> Event {
    Event::Registered { node: node(node_number), session: session(session_number), period: PERIOD }
}

fn heartbeat(node_number: u8, session_number: u8) -> Event {
    Event::Heartbeat { node: node(node_number), session: session(session_number), period: PERIOD }
}

/// Steps at once, whatever was due before.
#[track_caller]
fn late(liveness: &mut Liveness, seconds: i64, event: Event, expected: &[Effect]) {
    let mut out = Vec::new();
    liveness.step(at(seconds), event, &mut out);
    assert_eq!(out, expected);
}

/// Steps as a leader that looks whenever it is due; the effects of those looks count.
#[track_caller]
fn check(liveness: &mut Liveness, seconds: i64, event: Event, expected: &[Effect]) {
    let mut out = Vec::new();
    while liveness.next_deadline() < at(seconds) {
        liveness.step(liveness.next_deadline(), Event::Tick, &mut out);
    }
    liveness.step(at(seconds), event, &mut out);
    assert_eq!(out, expected);
}

fn empty() -> Liveness {
    Liveness::new(at(0), PERIOD, [])
}

#[test]
fn a_node_is_ready_once_and_down_after_three_missed_heartbeats() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    check(&mut liveness, 5, heartbeat(1, 1), &[]);
    check(&mut liveness, 18, Event::Tick, &[]);
    assert_eq!(liveness.next_deadline(), at(20));
    check(&mut liveness, 19, Event::Tick, &[]);
    let down = [Effect::End { session: session(1) }, Effect::Down { node: node(1) }];
    check(&mut liveness, 20, Event::Tick, &down);
    check(&mut liveness, 21, Event::Tick, &[]);
    check(&mut liveness, 22, heartbeat(1, 1), &[Effect::End { session: session(1) }]);
    check(&mut liveness, 23, registered(1, 2), &[Effect::Ready { node: node(1) }]);
}

#[test]
fn a_newer_session_replaces_the_older_one() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    check(&mut liveness, 1, registered(1, 2), &[Effect::End { session: session(1) }]);
    check(&mut liveness, 2, heartbeat(1, 1), &[Effect::End { session: session(1) }]);
    check(&mut liveness, 2, heartbeat(1, 2), &[]);
    check(&mut liveness, 3, Event::Left { node: node(1), session: session(1) }, &[]);
}

#[test]
fn a_new_leader_gives_double_grace_and_writes_nothing_for_the_living() {
    let known = [
        Known { node: node(1), away: None, ready: true },
        Known { node: node(2), away: None, ready: false },
        Known { node: node(3), away: Some(Duration::from_secs(24 * 3600 - 10)), ready: false },
    ];
    let mut liveness = Liveness::new(at(100), PERIOD, known);
    check(&mut liveness, 105, heartbeat(1, 7), &[]);
    check(&mut liveness, 105, heartbeat(2, 8), &[Effect::Ready { node: node(2) }]);
    check(&mut liveness, 110, Event::Tick, &[Effect::Orphan { node: node(3) }]);
    assert_eq!(liveness.next_deadline(), at(115));

    let mut silent = Liveness::new(at(100), PERIOD, known);
    check(&mut silent, 129, Event::Tick, &[Effect::Orphan { node: node(3) }]);
    let down = [Effect::Down { node: node(1) }, Effect::Down { node: node(2) }];
    check(&mut silent, 130, Event::Tick, &down);
}

#[test]
fn a_node_that_left_is_down_at_once_and_orphans_come_once() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    let left = Event::Left { node: node(1), session: session(1) };
    check(&mut liveness, 1, left, &[Effect::Down { node: node(1) }]);
    let day = 24 * 3600;
    check(&mut liveness, day, Event::Tick, &[]);
    check(&mut liveness, day + 1, Event::Tick, &[Effect::Orphan { node: node(1) }]);
    check(&mut liveness, 3 * day, Event::Tick, &[]);
}

#[test]
fn a_removed_node_loses_its_session() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    let gone = [Effect::End { session: session(1) }];
    check(&mut liveness, 1, Event::Removed { node: node(1) }, &gone);
    check(&mut liveness, 2, heartbeat(1, 1), &gone);
    check(&mut liveness, 100, Event::Tick, &[]);
}

#[test]
fn a_leader_that_stood_still_gives_double_grace() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    check(&mut liveness, 0, registered(2, 2), &[Effect::Ready { node: node(2) }]);
    check(&mut liveness, 5, Event::Tick, &[]);
    // Both would be down at 15. The beat of one waits for the leader.
    late(&mut liveness, 60, Event::Tick, &[]);
    late(&mut liveness, 60, heartbeat(1, 1), &[]);
    check(&mut liveness, 75, heartbeat(1, 1), &[]);
    check(&mut liveness, 89, Event::Tick, &[]);
    let down =
        |number| [Effect::End { session: session(number) }, Effect::Down { node: node(number) }];
    let both = [down(1), down(2)].concat();
    check(&mut liveness, 90, Event::Tick, &both);
}

#[test]
fn a_beat_that_waited_counts_before_what_is_due() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    check(&mut liveness, 14, Event::Tick, &[]);
    late(&mut liveness, 16, heartbeat(1, 1), &[]);
    late(&mut liveness, 16, Event::Tick, &[]);
}

#[test]
fn the_shortest_stand_that_could_make_a_healthy_node_look_silent_is_noticed() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    check(&mut liveness, 4, Event::Tick, &[]);
    // It stands from the second at which the next beat comes until the node seems to have missed three.
    late(&mut liveness, 15, Event::Tick, &[]);
}

#[test]
fn a_look_that_is_hardly_late_is_as_good_as_one_in_time() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    check(&mut liveness, 14, Event::Tick, &[]);
    let down = [Effect::End { session: session(1) }, Effect::Down { node: node(1) }];
    late(&mut liveness, 17, Event::Tick, &down);
}

#[test]
fn who_was_away_stays_so_when_the_leader_stood_still() {
    let mut liveness = empty();
    check(&mut liveness, 0, registered(1, 1), &[Effect::Ready { node: node(1) }]);
    let left = Event::Left { node: node(1), session: session(1) };
    check(&mut liveness, 1, left, &[Effect::Down { node: node(1) }]);
    let day = 24 * 3600;
    late(&mut liveness, day + 1, Event::Tick, &[Effect::Orphan { node: node(1) }]);
}

#[test]
fn what_was_decided_is_not_written_after_a_sign_of_life() {
    let mut liveness = empty();
    let (ready, down) = (Effect::Ready { node: node(1) }, Effect::Down { node: node(1) });
    let orphan = Effect::Orphan { node: node(1) };
    check(&mut liveness, 0, registered(1, 1), &[ready]);
    assert_eq!([ready, down, orphan].map(|effect| liveness.still(&effect)), [true, false, false]);
    check(&mut liveness, 15, Event::Tick, &[Effect::End { session: session(1) }, down]);
    assert_eq!([ready, down, orphan].map(|effect| liveness.still(&effect)), [false, true, true]);
    check(&mut liveness, 16, registered(1, 2), &[ready]);
    assert_eq!([ready, down, orphan].map(|effect| liveness.still(&effect)), [true, false, false]);
    check(
        &mut liveness,
        17,
        Event::Removed { node: node(1) },
        &[Effect::End { session: session(2) }],
    );
    assert_eq!([ready, down, orphan].map(|effect| liveness.still(&effect)), [false, true, true]);
}

#[test]
fn registrations_are_limited_in_a_sliding_window() {
    let mut limit = RegistrationLimit::default();
    for second in 0..3 {
        assert_eq!(limit.admit(at(second), node(1)), Ok(()));
    }
    assert_eq!(limit.admit(at(3), node(1)), Err(Duration::from_secs(5)));
    assert_eq!(limit.admit(at(3), node(2)), Ok(()));
    assert_eq!(limit.admit(at(8), node(1)), Ok(()));
    assert_eq!(limit.admit(at(8), node(1)), Err(Duration::from_secs(1)));
}

#[test]
fn jitter_stays_within_a_tenth() {
    assert_eq!(jittered(PERIOD, 0), Duration::from_millis(4500));
    assert_eq!(jittered(PERIOD, u32::MAX), Duration::from_millis(5500));
}
