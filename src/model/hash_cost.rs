//! What checking a chosen secret costs, and how a guess is made to cost the same whoever it is made at: the own hashes
//! of a client, then as much more as the most expensive client would take.
//!
//! Knows the costs of argon2id as numbers; computes no hash.

use serde::{Deserialize, Serialize};

use super::client::MAX_SECRETS;

/// The costs of one argon2id hash. The default is what edi makes itself: 19 MiB, two passes, one lane (OWASP's first
/// choice).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HashCost {
    /// Memory in KiB.
    pub m: u32,
    /// Passes over it.
    pub t: u32,
    /// Lanes; they are computed one after the other, so they take no time off.
    pub p: u32,
}

impl Default for HashCost {
    fn default() -> Self {
        Self { m: 19 * 1024, t: 2, p: 1 }
    }
}

impl HashCost {
    /// The largest costs taken over with a hash from another system.
    pub const MOST: Self = Self { m: 64 * 1024, t: 10, p: 4 };
    /// The least memory argon2 works with, in KiB.
    const LEAST_MEMORY: u32 = 8;

    /// The costs that a hash in PHC form names, within [`Self::MOST`].
    #[must_use]
    pub fn of_phc(phc: &str) -> Self {
        let mut cost = Self::default();
        for pair in phc.split('$').take(4).flat_map(|part| part.split(',')) {
            let Some((name, Ok(value))) = pair.split_once('=').map(|(name, value)| (name, value.parse())) else {
                continue;
            };
            match name {
                "m" => cost.m = value,
                "t" => cost.t = value,
                "p" => cost.p = value,
                _ => {}
            }
        }
        cost.bounded()
    }

    /// The same, within [`Self::MOST`].
    #[must_use]
    pub fn bounded(self) -> Self {
        Self { m: self.m.min(Self::MOST.m), t: self.t.min(Self::MOST.t), p: self.p.min(Self::MOST.p) }
    }

    /// How long it takes, in passes over one KiB.
    #[must_use]
    pub fn work(self) -> u64 {
        u64::from(self.m) * u64::from(self.t)
    }
}

/// The hashes that one guess takes: those of the most expensive client.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HashPlan {
    // First, so that plans are ordered by it.
    work: u64,
    costs: Vec<HashCost>,
}

impl HashPlan {
    /// The plan of a client whose hashes cost this. No client has more than [`MAX_SECRETS`] that work, so the most
    /// expensive ones count.
    #[must_use]
    pub fn of(costs: impl IntoIterator<Item = HashCost>) -> Self {
        let mut costs: Vec<HashCost> = costs.into_iter().map(HashCost::bounded).collect();
        costs.sort_unstable_by_key(|cost| std::cmp::Reverse((cost.work(), *cost)));
        costs.truncate(MAX_SECRETS);
        Self { work: costs.iter().map(|cost| cost.work()).sum(), costs }
    }

    /// How long all of it takes, in passes over one KiB.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.work
    }

    /// What is to be computed beside hashes that cost `own`, so that all takes as long as the plan: the rest of the plan
    /// where they are a part of it, else one hash that takes as long as what is missing.
    #[must_use]
    pub fn beside(&self, own: &[HashCost]) -> Vec<HashCost> {
        let mut rest = self.costs.clone();
        for cost in own {
            if let Some(at) = rest.iter().position(|planned| planned == cost) {
                rest.remove(at);
            }
        }
        let missing = self.work.saturating_sub(own.iter().map(|cost| cost.work()).sum());
        if rest.iter().map(|cost| cost.work()).sum::<u64>() == missing {
            return rest;
        }
        let m = HashCost::default().m;
        let number = |work: u64| u32::try_from(work).unwrap_or_default();
        let passes = HashCost { m, t: number(missing / u64::from(m)), p: 1 };
        let remainder = HashCost { m: number(missing % u64::from(m)), t: 1, p: 1 };
        [passes, remainder].into_iter().filter(|cost| cost.t > 0 && cost.m >= HashCost::LEAST_MEMORY).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MADE: HashCost = HashCost { m: 19_456, t: 2, p: 1 };
    const COSTLY: HashCost = HashCost { m: 65_536, t: 10, p: 4 };

    #[test]
    fn a_hash_names_its_costs() {
        let cost = |m, t, p| HashCost { m, t, p };
        for (phc, expected) in [
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$dhR1Y0Mx3oWT3gTQ5ry6Ww", cost(8, 1, 1)),
            ("$argon2id$m=47104,t=3,p=2$c29tZXNhbHRzb21lc2FsdA$dhR1Y0Mx3oWT3gTQ5ry6Ww", cost(47_104, 3, 2)),
            ("$argon2id$v=19$m=4294967295,t=99,p=77$c29tZXNhbHQ$dhR1", HashCost::MOST),
            ("$argon2id$v=19$c29tZXNhbHRzb21lc2FsdA$dhR1Y0Mx3oWT3gTQ5ry6Ww", MADE),
            ("nonsense", MADE),
        ] {
            assert_eq!(HashCost::of_phc(phc), expected, "{phc}");
        }
    }

    #[test]
    fn a_guess_at_nobody_takes_the_hashes_of_the_most_expensive_client() {
        for costs in [vec![MADE], vec![MADE, MADE], vec![COSTLY], vec![COSTLY, MADE], vec![COSTLY, COSTLY]] {
            let plan = HashPlan::of(costs.clone());
            assert_eq!(plan.beside(&[]), costs);
            assert_eq!(plan.beside(&costs), [], "which itself needs nothing more");
            assert_eq!(plan.beside(&costs[1..]), costs[..1], "what it has is not computed twice");
        }
        assert_eq!(HashPlan::default().beside(&[]), []);
        assert_eq!(HashPlan::default().beside(&[MADE]), [], "a plan that is a moment behind");
    }

    #[test]
    fn other_costs_are_made_up_for_in_one_hash() {
        let plan = HashPlan::of([COSTLY]);
        let [passes, remainder] = plan.beside(&[MADE])[..] else { panic!("{:?}", plan.beside(&[MADE])) };
        assert_eq!((passes.m, passes.p, remainder.t), (19_456, 1, 1), "in the memory that is there");
        assert_eq!(MADE.work() + passes.work() + remainder.work(), COSTLY.work());
    }

    #[test]
    fn a_plan_is_bounded_whatever_it_is_made_of() {
        let wild = HashCost { m: u32::MAX, t: u32::MAX, p: u32::MAX };
        assert_eq!(HashPlan::of([wild; 9]), HashPlan::of([COSTLY; 2]));
        assert_eq!(HashPlan::of([wild; 9]).work(), 2 * 65_536 * 10);
    }

    fn any_cost() -> impl Strategy<Value = HashCost> {
        (8_u32..70_000, 1_u32..12, 1_u32..5).prop_map(|(m, t, p)| HashCost { m, t, p }.bounded())
    }

    proptest! {
        #[test]
        fn whoever_is_guessed_at_it_takes_the_same(
            all in prop::collection::vec(prop::collection::vec(any_cost(), 0..=MAX_SECRETS), 1..6),
        ) {
            let plan = all.iter().map(|own| HashPlan::of(own.iter().copied())).max().unwrap();
            for own in &all {
                let beside = plan.beside(own);
                let work: u64 = own.iter().chain(&beside).map(|cost| cost.work()).sum();
                prop_assert!(plan.work() - work < u64::from(HashCost::LEAST_MEMORY), "{own:?} and {beside:?}");
            }
        }
    }
}
