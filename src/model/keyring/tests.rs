use proptest::prelude::*;
use serde_json::json;

use super::*;

const HOUR: Duration = Duration::from_hours(1);
const LIFETIME: u32 = 900;

fn kid(name: &str) -> Kid {
    Kid::parse(name).unwrap()
}

fn fresh(name: &str) -> FreshKey {
    FreshKey { kid: kid(name), public: json!({ "kid": name }), sealed: "sealed".into() }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn started() -> Ring {
    Ring::start(Algorithm::Es256, LIFETIME, fresh("a"), fresh("b"), at(0))
}

fn states(ring: &Ring, now: i64) -> String {
    let states = ring.keys.iter().map(|key| format!("{}:{}", key.kid, ring.state_of(key, at(now))));
    states.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_key_goes_from_pending_to_retired_by_the_clock_alone() {
    let mut ring = started();
    let promotion = ring.rotate(at(600), HOUR, fresh("c")).unwrap();
    assert_eq!((promotion.kid, promotion.signs_from), (kid("b"), at(3600)));
    assert_eq!((promotion.old, promotion.old_trusted_until), (kid("a"), at(3600 + 900 + 60)));
    for (now, expected) in [
        (599, "a:active b:pending c:pending"),
        (3599, "a:active b:pending c:pending"),
        (3600, "a:retiring b:active c:pending"),
        (3600 + 959, "a:retiring b:active c:pending"),
        (3600 + 960, "a:retired b:active c:pending"),
        (1_000_000_000, "a:retired b:active c:pending"),
    ] {
        assert_eq!(states(&ring, now), expected, "at {now}");
    }
}

#[test]
fn without_a_successor_a_key_keeps_signing() {
    let ring = started();
    assert_eq!(states(&ring, 1_000_000_000), "a:active b:pending");
    assert_eq!(ring.retires_at(&kid("a")), None);
    assert_eq!(ring.next_transition(at(5)), None);
}

#[test]
fn a_clock_that_lags_behind_the_first_key_signs_with_it() {
    assert_eq!(states(&started(), -30), "a:active b:pending");
}

#[test]
fn a_standby_that_was_published_long_enough_signs_at_once() {
    let mut ring = started();
    assert_eq!(ring.rotate(at(7200), HOUR, fresh("c")).unwrap().signs_from, at(7200));
    assert_eq!(states(&ring, 7200), "a:retiring b:active c:pending");
}

#[test]
fn rotations_are_refused_while_one_is_planned() {
    let mut ring = started();
    ring.rotate(at(600), HOUR, fresh("c")).unwrap();
    let before = ring.clone();
    let refusal = ring.rotate(at(700), HOUR, fresh("d")).unwrap_err();
    assert_eq!(refusal, RotateRefusal::AlreadyPlanned { kid: kid("b"), at: at(3600) });
    assert_eq!(ring, before);
    assert_eq!(ring.rotate(at(4000), HOUR, fresh("b")), Err(RotateRefusal::KnownKey(kid("b"))));
}

#[test]
fn a_ring_takes_no_more_keys_than_fit_its_record() {
    let mut ring = started();
    let big = |name: &str| FreshKey {
        kid: kid(&format!("{name:x<128}")),
        public: json!({ "n": "n".repeat(700) }),
        sealed: "s".repeat(3300), // RSA-4096, the largest that can be imported
    };
    let mut now = 0;
    let refusal = (0..100).find_map(|i| {
        now += 10;
        ring.rotate(at(now), Duration::ZERO, big(&format!("k{i}"))).err()
    });
    let Some(RotateRefusal::TooManyKeys { until }) = refusal else { panic!("{refusal:?}") };
    for i in 0..50 {
        now += 1;
        let spare = [big(&format!("r{i}")), big(&format!("s{i}"))];
        let signer = ring.signer(at(now)).unwrap().kid.clone();
        ring.revoke(&signer, Reach::KeyAndPending, at(now), &spare).unwrap();
        assert!(serde_json::to_vec(&ring).unwrap().len() < 60 * 1024, "after {i} emergencies");
    }
    assert!(ring.rotate(until.plus(Duration::from_mins(10)), Duration::ZERO, fresh("z")).is_ok());
}

#[test]
fn an_emergency_promotes_the_standby_at_once_however_young() {
    let mut ring = started();
    let done = ring.revoke(&kid("a"), Reach::Key, at(60), &[fresh("c")]).unwrap();
    assert_eq!(states(&ring, 60), "a:revoked b:active c:pending");
    assert_eq!(done.promoted, Some(kid("b")));
    assert_eq!(done.published_for, Some(Duration::from_mins(1)));
    assert_eq!(done.added, [kid("c")]);
    assert_eq!(states(&ring, 30), "a:revoked b:active c:pending", "a lagging replica agrees");
    assert!(ring.key(&kid("a")).unwrap().sealed.is_empty(), "its private half is forgotten");
}

#[test]
fn an_emergency_takes_the_planned_successor_first() {
    let mut ring = started();
    ring.rotate(at(600), HOUR, fresh("c")).unwrap();
    let done = ring.revoke(&kid("a"), Reach::Key, at(700), &[fresh("d")]).unwrap();
    assert_eq!((done.promoted, done.added), (Some(kid("b")), vec![]));
    assert_eq!(states(&ring, 700), "a:revoked b:active c:pending");
}

#[test]
fn revoking_with_the_pending_keys_starts_two_fresh_ones() {
    let mut ring = started();
    let done = ring.revoke(&kid("a"), Reach::KeyAndPending, at(60), &[fresh("c"), fresh("d")]).unwrap();
    assert_eq!(done.revoked, [kid("a"), kid("b")]);
    assert_eq!(done.promoted, Some(kid("c")));
    assert_eq!(states(&ring, 60), "a:revoked b:revoked c:active d:pending");
}

#[test]
fn revoking_a_planned_successor_calls_the_rotation_off() {
    let mut ring = started();
    ring.rotate(at(600), HOUR, fresh("c")).unwrap();
    ring.revoke(&kid("b"), Reach::Key, at(700), &[fresh("d")]).unwrap();
    assert_eq!(states(&ring, 5000), "a:active b:revoked c:pending");
    assert!(ring.rotate(at(5000), HOUR, fresh("e")).is_ok());
}

#[test]
fn revoking_what_does_not_sign_changes_no_signer() {
    let mut ring = started();
    ring.rotate(at(3600), HOUR, fresh("c")).unwrap();
    let done = ring.revoke(&kid("a"), Reach::Key, at(3700), &[fresh("d")]).unwrap();
    assert_eq!((done.promoted, done.added), (None, vec![]));
    assert_eq!(states(&ring, 3700), "a:revoked b:active c:pending");
    ring.revoke(&kid("c"), Reach::Key, at(3701), &[fresh("d")]).unwrap();
    assert_eq!(states(&ring, 3701), "a:revoked b:active c:revoked d:pending");
}

#[test]
fn a_key_that_stopped_never_signs_again() {
    let mut ring = started();
    ring.rotate(at(3600), HOUR, fresh("c")).unwrap();
    ring.revoke(&kid("b"), Reach::Key, at(3700), &[fresh("d")]).unwrap();
    assert_eq!(states(&ring, 3650), "a:retiring b:revoked c:active d:pending");
    assert_eq!(ring.retires_at(&kid("a")), Some(at(3600 + 960)), "its end does not move");
}

#[test]
fn revocations_are_refused_without_changing_anything() {
    let mut ring = started();
    ring.revoke(&kid("a"), Reach::Key, at(1), &[fresh("c")]).unwrap();
    let before = ring.clone();
    let rows = [
        (kid("nope"), vec![fresh("z")], RevokeRefusal::UnknownKey(kid("nope"))),
        (kid("a"), vec![fresh("z")], RevokeRefusal::AlreadyRevoked { kid: kid("a"), at: at(1) }),
        (kid("b"), vec![], RevokeRefusal::NeedsFreshKeys),
        (kid("b"), vec![fresh("c")], RevokeRefusal::KnownKey(kid("c"))),
    ];
    for (named, spare, expected) in rows {
        assert_eq!(ring.revoke(&named, Reach::Key, at(2), &spare).unwrap_err(), expected);
        assert_eq!(ring, before);
    }
}

#[test]
fn an_imported_key_signs_at_once_and_the_old_one_retires() {
    let mut ring = started();
    let done = ring.adopt(fresh("x"), Adoption::Signs, 900, at(60)).unwrap();
    assert_eq!(states(&ring, 60), "a:retiring b:pending x:active");
    assert_eq!(states(&ring, 30), "a:active b:pending x:pending", "a lagging replica signs on with the old one");
    assert_eq!((done.signs_from, done.leaves_at), (Some(at(60)), None));
    assert_eq!(done.old, Some((kid("a"), at(60 + 960))));
    let promotion = ring.rotate(at(4000), HOUR, fresh("c")).unwrap();
    assert_eq!((promotion.kid, promotion.old), (kid("b"), kid("x")), "and retires like any other");
    assert_eq!(states(&ring, 4000), "a:retired b:active x:retiring c:pending");
}

#[test]
fn an_import_that_signs_calls_a_planned_rotation_off() {
    let mut ring = started();
    ring.rotate(at(600), HOUR, fresh("c")).unwrap();
    let done = ring.adopt(fresh("x"), Adoption::Signs, 900, at(700)).unwrap();
    assert_eq!(done.called_off, Some(kid("b")));
    assert_eq!(states(&ring, 1_000_000), "a:retired b:pending c:pending x:active");
    assert_eq!(ring.rotate(at(7200), HOUR, fresh("d")).unwrap().kid, kid("b"), "whose turn is next");
}

#[test]
fn a_key_imported_for_verification_is_trusted_for_its_tokens_lifetime_and_never_signs() {
    let mut ring = started();
    let before = ring.clone();
    let done = ring.adopt(fresh("x"), Adoption::Verifies, 86_400, at(60)).unwrap();
    assert_eq!((done.signs_from, done.old, done.called_off), (None, None, None));
    assert_eq!(done.leaves_at, Some(at(60 + 86_400 + 60)));
    assert_eq!(ring.longest_lifetime, 86_400, "revocations are kept for its tokens too");
    assert_eq!(states(&ring, 60), "a:active b:pending x:retiring");
    assert_eq!(
        (ring.signer(at(60)), ring.standby().map(|key| &key.kid)),
        (before.signer(at(60)).map(|_| &ring.keys[0]), Some(&kid("b")))
    );
    assert_eq!(ring.max_age(at(86_519)), 1);
    assert_eq!(states(&ring, 86_520), "a:active b:pending x:retired");
    ring.revoke(&kid("a"), Reach::KeyAndPending, at(61), &[fresh("c"), fresh("d")]).unwrap();
    assert_eq!(states(&ring, 61), "a:revoked b:revoked x:retiring c:active d:pending", "it is no standby");
}

#[test]
fn imports_that_do_not_fit_change_nothing() {
    let mut ring = started();
    ring.revoke(&kid("a"), Reach::Key, at(1), &[fresh("c")]).unwrap();
    let before = ring.clone();
    for known in ["a", "b", "c"] {
        let refusal = ring.adopt(fresh(known), Adoption::Signs, 90_000, at(2)).unwrap_err();
        assert_eq!((refusal, &ring), (AdoptRefusal::KnownKey(kid(known)), &before), "a revoked one too");
    }
    let refusal = (0..20).find_map(|n| ring.adopt(fresh(&format!("v{n}")), Adoption::Verifies, 900, at(2)).err());
    assert_eq!(refusal, Some(AdoptRefusal::TooManyKeys));
    assert!(ring.rotate(at(7200), HOUR, fresh("z")).is_ok(), "there is room for the next rotation");
}

#[test]
fn a_longer_lifetime_holds_for_every_key_that_is_still_trusted_and_for_no_other() {
    let mut ring = started();
    ring.rotate(at(3600), HOUR, fresh("c")).unwrap();
    ring.rotate(at(7200), HOUR, fresh("d")).unwrap();
    assert!(ring.raise_lifetime(at(7201), 86_400));
    assert!(!ring.raise_lifetime(at(7201), 60));
    assert_eq!(states(&ring, 7201), "a:retired b:retiring c:active d:pending");
    assert_eq!(ring.retires_at(&kid("b")), Some(at(7200 + 86_400 + 60)));
    ring.rotate(at(10_800), HOUR, fresh("e")).unwrap();
    assert_eq!(ring.key(&kid("e")).unwrap().longest_lifetime, 86_400);
}

#[test]
fn ended_keys_are_listed_for_a_while_and_then_dropped() {
    let mut ring = started();
    ring.rotate(at(3600), HOUR, fresh("c")).unwrap();
    let end = at(3600 + 960);
    assert!(!ring.drop_ended(end.plus(KEPT_AFTER_END).minus(Duration::from_millis(1))));
    assert!(ring.drop_ended(end.plus(KEPT_AFTER_END)));
    assert_eq!(states(&ring, 10_000_000), "b:active c:pending");
}

#[test]
fn the_jwks_is_cached_no_longer_than_until_the_next_transition() {
    let mut ring = started();
    assert_eq!(ring.max_age(at(10)), 300);
    ring.rotate(at(600), HOUR, fresh("c")).unwrap();
    for (now, expected) in [(600, 300), (3300, 300), (3301, 299), (3599, 1), (3600, 300), (4559, 1)] {
        assert_eq!(ring.max_age(at(now)), expected, "at {now}");
    }
    assert_eq!(ring.max_age(Timestamp::from_millis(3_599_999)), 0);
}

#[test]
fn coming_transitions_are_listed_in_order() {
    let mut ring = started();
    ring.rotate(at(600), HOUR, fresh("c")).unwrap();
    let plan: Vec<String> =
        ring.transitions(at(600)).iter().map(|t| format!("{} {} {}", t.at.secs(), t.kid, t.to)).collect();
    assert_eq!(plan, ["3600 a retiring", "3600 b active", "4560 a retired"]);
}

#[test]
fn a_ring_goes_through_json_unchanged() {
    let mut ring = started();
    ring.revoke(&kid("a"), Reach::Key, at(60), &[fresh("c")]).unwrap();
    let text = serde_json::to_string(&ring).unwrap();
    assert_eq!(serde_json::from_str::<Ring>(&text).unwrap(), ring);
    assert!(!format!("{ring:?}").contains("sealed"));
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u32),
    Rotate,
    Revoke(usize, bool),
    Raise(u32),
    Import(bool, u32),
    /// Nobody looks for this long, then the rotation that is due by then happens.
    Sleep(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![0_u32..5, 0_u32..4000, 0_u32..90_000_000].prop_map(Step::Wait);
    let step = prop_oneof![
        4 => wait,
        3 => Just(Step::Rotate),
        2 => (0_usize..20, any::<bool>()).prop_map(|(which, all)| Step::Revoke(which, all)),
        1 => (60_u32..100_000).prop_map(Step::Raise),
        2 => (any::<bool>(), 60_u32..200_000).prop_map(|(signs, lifetime)| Step::Import(signs, lifetime)),
        1 => (0_u32..400_000_000).prop_map(Step::Sleep),
    ];
    prop::collection::vec(step, 1..40)
}

/// A token: who signed it, and when it expires at the latest.
struct Issued {
    kid: Kid,
    expires: Timestamp,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_schedule_keeps_the_promises(steps in steps(), publish_before in 0_u64..7200) {
        let publish_before = Duration::from_secs(publish_before);
        let mut ring = started();
        let (mut now, mut serial) = (at(0), 0);
        let (mut issued, mut young): (Vec<Issued>, Vec<Kid>) = (Vec::new(), vec![kid("a")]);
        let mut ended: Vec<Kid> = Vec::new();
        let mut name = || { serial += 1; fresh(&format!("k{serial}")) };
        for step in steps {
            match step {
                Step::Wait(secs) | Step::Sleep(secs) => {
                    // Stop at every transition on the way: nobody calls anything there, the clock alone decides.
                    let until = now.plus(Duration::from_secs(secs.into()));
                    while let Some(next) = ring.next_transition(now).filter(|&next| next <= until) {
                        let cached = now.plus(Duration::from_secs(ring.max_age(now).into()));
                        prop_assert!(cached <= next);
                        now = next;
                        promises(&ring, now, publish_before, &mut issued, &young, &mut ended)?;
                    }
                    now = until;
                    promises(&ring, now, publish_before, &mut issued, &young, &mut ended)?;
                    if matches!(step, Step::Sleep(_)) {
                        let every = Schedule { rotate_every: HOUR * 24 * 30, publish_before };
                        let foreseen = every.forecast(&ring, now, fresh("foreseen"));
                        if every.due(&ring, now).is_some_and(|due| due <= now) {
                            let (foreseen, key) = (foreseen.unwrap(), name());
                            prop_assert_eq!(foreseen.due, now, "what is overdue happens now");
                            let done = ring.rotate(now, publish_before, key);
                            let planned = foreseen.ring.as_ref().and_then(|ring| ring.signer(now));
                            if done.is_ok() {
                                prop_assert_eq!(planned.map(|key| &key.kid), ring.signer(now).map(|key| &key.kid));
                            }
                        }
                    }
                }
                Step::Rotate => if let Ok(promotion) = ring.rotate(now, publish_before, name()) {
                    prop_assert!(promotion.signs_from >= now);
                },
                Step::Revoke(which, all) => {
                    let which = ring.keys[which % ring.keys.len()].kid.clone();
                    let reach = if all { Reach::KeyAndPending } else { Reach::Key };
                    let spare: Vec<FreshKey> = (0..Ring::fresh_keys_for(reach)).map(|_| name()).collect();
                    match ring.revoke(&which, reach, now, &spare) {
                        Ok(done) => {
                            for gone in &done.revoked {
                                prop_assert!(ring.published(now).all(|key| key.kid != *gone));
                                issued.retain(|token| token.kid != *gone);
                            }
                            young.extend(done.promoted);
                        }
                        Err(refusal) => {
                            let again = matches!(refusal, RevokeRefusal::AlreadyRevoked { .. });
                            prop_assert!(again, "{}", refusal);
                        }
                    }
                }
                Step::Raise(secs) => { ring.raise_lifetime(now, secs); }
                Step::Import(signs, lifetime) => {
                    let adoption = if signs { Adoption::Signs } else { Adoption::Verifies };
                    if let Ok(done) = ring.adopt(name(), adoption, lifetime, now) {
                        // The last token that it signed elsewhere, as young as can be.
                        issued.push(Issued { kid: done.kid.clone(), expires: now.plus(Duration::from_secs(lifetime.into())) });
                        // A key that started this very millisecond keeps it.
                        let start = done.signs_from.unwrap_or(now);
                        prop_assert!(start.since(now) < Duration::from_millis(100));
                        let signer = ring.signer(start).unwrap();
                        prop_assert_eq!(signer.kid == done.kid, signs);
                        young.push(done.kid);
                    }
                }
            }
            promises(&ring, now, publish_before, &mut issued, &young, &mut ended)?;
        }
    }
}

fn promises(
    ring: &Ring,
    now: Timestamp,
    publish_before: Duration,
    issued: &mut Vec<Issued>,
    young: &[Kid],
    ended: &mut Vec<Kid>,
) -> Result<(), TestCaseError> {
    let count = |state| ring.keys.iter().filter(|key| ring.state_of(key, now) == state).count();
    prop_assert_eq!(count(KeyState::Active), 1, "exactly one signer");
    prop_assert!(count(KeyState::Pending) >= 1, "a successor is always published");
    prop_assert!(ring.published(now).count() <= MAX_LIVE_KEYS);
    let signer = ring.signer(now).unwrap();
    prop_assert!(!signer.is_revoked() && !signer.sealed.is_empty());
    prop_assert!(
        young.contains(&signer.kid) || now >= signer.published_at.plus(publish_before),
        "no key signs before its time"
    );
    prop_assert!(ring.max_age(now) <= MAX_JWKS_AGE);
    for token in issued.iter().filter(|token| now < token.expires) {
        prop_assert!(ring.published(now).any(|key| key.kid == token.kid), "a live token's key is published");
    }
    for key in ended.iter() {
        prop_assert!(ring.published(now).all(|published| published.kid != *key), "what ended stays ended");
    }
    ended.extend(ring.keys.iter().filter(|k| !ring.state_of(k, now).is_published()).map(|k| k.kid.clone()));
    issued.retain(|token| now < token.expires);
    // Two replicas whose clocks differ by up to the skew sign now, for as long as they may.
    for clock in [now.minus(SKEW / 2), now, now.plus(SKEW / 2)] {
        let signer = ring.signer(clock).unwrap();
        prop_assert!(ring.published(now).any(|key| key.kid == signer.kid), "all replicas sign with a published key");
        let expires = clock.plus(Duration::from_secs(ring.longest_lifetime.into()));
        issued.push(Issued { kid: signer.kid.clone(), expires });
    }
    Ok(())
}
