//! Secrets that a person chose or another system made: argon2id (RFC 9106), on few dedicated threads with memory of
//! their own and a bounded queue, so that guesses can neither eat the machine nor stall the rest.
//!
//! Knows hashes and passwords; not clients, the store or HTTP.

use std::sync::Arc;
use std::time::Instant;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::sync::oneshot;

use super::hashing_queue::{FairQueue, Flow, Full, Lane, QueueFigures};
use crate::ambient::Entropy;
use crate::model::hash_cost::{HashCost, HashPlan};
use crate::secret::{Secret, same};

/// The shortest secret a person may choose, in bytes.
pub const MIN_CHOSEN: usize = 16;
/// The longest, in bytes.
pub const MAX_CHOSEN: usize = 1024;

/// How far the hashing threads stand back, in the operating system's measure of niceness.
const COURTESY: i32 = 10;

/// Whether the text is what another function made of a secret (`$2b$12$…`, `$6$…`, `$scrypt$…`, `{SSHA}…`). Taken for
/// the secret itself it would let in whoever reads the hash, and not who knows the secret.
#[must_use]
pub fn is_foreign_hash(text: &str) -> bool {
    let name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let of = |opening: char, closing: char| {
        let rest = text.strip_prefix(opening)?.split_once(closing)?;
        (name(rest.0) && !rest.1.is_empty()).then_some(rest)
    };
    of('{', '}').is_some() || of('$', '$').is_some_and(|(_, rest)| rest.contains('$'))
}

/// A parsed argon2id hash with bounded costs.
#[derive(Clone)]
pub struct ChosenHash {
    params: Params,
    version: Version,
    salt: Salt,
    output: Output,
}

/// Why a text is not a hash edi takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHash {
    /// Not PHC, or not argon2id.
    #[error("expected an argon2id hash in PHC form ($argon2id$v=19$m=…,t=…,p=…$salt$hash)")]
    Form,
    /// Its costs are outside what edi spends on a guess.
    #[error("the argon2id costs must lie within m=8..65536 (KiB), t=1..10, p=1..4, with 16 to 64 bytes of hash")]
    Costs,
}

impl ChosenHash {
    /// Reads a PHC string.
    ///
    /// # Errors
    /// When it is no argon2id hash, or its costs are out of bounds.
    pub fn parse(phc: &str) -> Result<Self, InvalidHash> {
        let hash = PasswordHash::new(phc).map_err(|_| InvalidHash::Form)?;
        if hash.algorithm.as_str() != "argon2id" {
            return Err(InvalidHash::Form);
        }
        let version = hash.version.unwrap_or(0x10);
        let version = Version::try_from(version).map_err(|_| InvalidHash::Form)?;
        let params = Params::try_from(&hash).map_err(|_| InvalidHash::Costs)?;
        let (Some(salt), Some(output)) = (hash.salt, hash.hash) else { return Err(InvalidHash::Form) };
        let cost = cost_of(&params);
        let fits = cost == cost.bounded() && (16..=64).contains(&output.as_bytes().len()) && salt.as_ref().len() >= 8;
        if fits { Ok(Self { params, version, salt, output }) } else { Err(InvalidHash::Costs) }
    }

    /// Hashes a secret with edi's own costs.
    ///
    /// # Errors
    /// Never with these parameters; the library's signature allows it.
    fn make(secret: &[u8], salt: [u8; 16], memory: &mut Vec<Block>) -> Result<String, argon2::Error> {
        let params = params_of(HashCost::default())?;
        let mut out = [0; 32];
        compute(&params, Version::V0x13, secret, &salt, &mut out, memory)?;
        let params = ParamsString::try_from(&params).map_err(|_| argon2::Error::OutputTooLong)?;
        let hash = PasswordHash {
            algorithm: Algorithm::Argon2id.ident(),
            version: Some(Version::V0x13.into()),
            params,
            salt: Salt::new(&salt).ok(),
            hash: Output::new(&out).ok(),
        };
        Ok(hash.to_string())
    }

    fn matches(&self, secret: &[u8], memory: &mut Vec<Block>) -> bool {
        let mut out = vec![0; self.output.as_bytes().len()];
        compute(&self.params, self.version, secret, self.salt.as_ref(), &mut out, memory).is_ok()
            && same(&out, self.output.as_bytes())
    }
}

fn cost_of(params: &Params) -> HashCost {
    HashCost { m: params.m_cost(), t: params.t_cost(), p: params.p_cost() }
}

fn params_of(cost: HashCost) -> Result<Params, argon2::Error> {
    Params::new(cost.m, cost.t, cost.p, Some(32))
}

/// Which of `against` the secret belongs to, and what was computed to find that out: where it belongs to none, as much
/// as the plan says, whosever they are.
fn judge(
    against: &[ChosenHash],
    plan: &HashPlan,
    secret: &[u8],
    memory: &mut Vec<Block>,
) -> (Option<usize>, Vec<HashCost>) {
    let mut computed = Vec::new();
    for (index, hash) in against.iter().enumerate() {
        computed.push(cost_of(&hash.params));
        if hash.matches(secret, memory) {
            return (Some(index), computed);
        }
    }
    for cost in plan.beside(&computed) {
        let mut out = [0; 32];
        if let Ok(params) = params_of(cost)
            && compute(&params, Version::V0x13, secret, &[0; 16], &mut out, memory).is_ok()
        {
            computed.push(cost);
        }
    }
    (None, computed)
}

fn compute(
    params: &Params,
    version: Version,
    secret: &[u8],
    salt: &[u8],
    out: &mut [u8],
    memory: &mut Vec<Block>,
) -> Result<(), argon2::Error> {
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::new());
    }
    let blocks = memory.get_mut(..params.block_count()).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, version, params.clone()).hash_password_into_with_memory(secret, salt, out, blocks)
}

/// The queue is full: try again shortly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hashing queue is full")]
pub struct Busy;

enum Job {
    /// Compare with each; where none matches, it takes as long as the plan.
    Check {
        against: Vec<ChosenHash>,
        plan: HashPlan,
        secret: Secret,
        answer: oneshot::Sender<Option<usize>>,
    },
    Make {
        secret: Secret,
        salt: [u8; 16],
        answer: oneshot::Sender<String>,
    },
}

/// The threads and their queue. Dropping the last handle ends them.
#[derive(Clone)]
pub struct Hasher(Arc<Handle>);

struct Handle(Arc<FairQueue<Job>>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Hasher {
    /// Starts `threads` threads (at least one) behind a queue of `waiting` places.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start(threads: usize, waiting: usize) -> std::io::Result<Self> {
        let queue = Arc::new(FairQueue::new(waiting));
        for n in 0..threads.max(1) {
            let jobs = Arc::clone(&queue);
            std::thread::Builder::new().name(format!("edi-hash-{n}")).spawn(move || work(&jobs))?;
        }
        Ok(Self(Arc::new(Handle(queue))))
    }

    /// Which of `against` the secret belongs to. A secret that belongs to none takes as long as `plan` says, whether
    /// there is anything to compare with or not.
    ///
    /// # Errors
    /// When the queue is full.
    pub async fn check(
        &self,
        against: Vec<ChosenHash>,
        plan: HashPlan,
        secret: Secret,
        (lane, flow): (Lane, Flow),
    ) -> Result<Option<usize>, Busy> {
        let (answer, verdict) = oneshot::channel();
        self.push(lane, flow, Job::Check { against, plan, secret, answer })?;
        verdict.await.map_err(|_| Busy)
    }

    /// Hashes a secret for keeping, as a PHC string.
    ///
    /// # Errors
    /// When the queue is full.
    pub async fn make(&self, secret: Secret, entropy: &dyn Entropy) -> Result<String, Busy> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        let (answer, hash) = oneshot::channel();
        self.push(Lane::Operator, 0, Job::Make { secret, salt, answer })?;
        hash.await.map_err(|_| Busy)
    }

    /// How many wait in a lane.
    #[must_use]
    pub fn waiting(&self, lane: Lane) -> usize {
        self.queue().waiting(lane)
    }

    /// How many may wait.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.queue().limit()
    }

    /// Changes how many may wait from now on.
    pub fn set_limit(&self, waiting: usize) {
        self.queue().set_limit(waiting);
    }

    /// What is counted.
    #[must_use]
    pub fn figures(&self) -> &QueueFigures {
        self.queue().figures()
    }

    fn queue(&self) -> &FairQueue<Job> {
        let Handle(queue) = &*self.0;
        queue
    }

    fn push(&self, lane: Lane, flow: Flow, job: Job) -> Result<(), Busy> {
        self.queue().push(lane, flow, job).map_err(|Full| Busy)
    }
}

fn work(jobs: &FairQueue<Job>) {
    // Whoever answers from memory goes first on the processor. Concerns this thread alone; where it is not allowed,
    // everything still works.
    let _ = rustix::process::setpriority_process(None, COURTESY);
    // Reused from guess to guess: no allocation of 19 MiB each.
    let mut memory: Vec<Block> = Vec::new();
    let mut rested = Instant::now();
    while let Some((lane, job)) = jobs.pop(rested) {
        let started = Instant::now();
        match job {
            Job::Check { against, plan, secret, answer } => {
                // A caller that hung up needs no hash.
                if answer.is_closed() {
                    continue;
                }
                let (verdict, _) = judge(&against, &plan, secret.expose().as_bytes(), &mut memory);
                let _ = answer.send(verdict);
            }
            Job::Make { secret, salt, answer } => {
                if let Ok(phc) = ChosenHash::make(secret.expose().as_bytes(), salt, &mut memory) {
                    let _ = answer.send(phc);
                }
            }
        }
        let took = started.elapsed();
        jobs.figures().worked.observe(took);
        if lane == Lane::Suspect {
            rested = Instant::now() + took;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ambient::SeededEntropy;

    const CHEAP: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$dhR1Y0Mx3oWT3gTQ5ry6Ww";

    const OPEN: (Lane, Flow) = (Lane::Open, 1);

    fn one() -> HashPlan {
        HashPlan::of([HashCost::default()])
    }

    fn secret(text: &str) -> Secret {
        Secret::new(text.into())
    }

    #[test]
    fn hashes_by_other_functions_are_told_from_secrets() {
        for hash in [
            "$2b$12$abcdefghijklmnopqrstuuJ5Zr3vK3YF8sQ6x4kq7h2fYx2lq8q7m",
            "$2y$10$x",
            "$6$salt$digest",
            "$pbkdf2-sha256$29000$salt$digest",
            "$scrypt$ln=16,r=8,p=1$salt$digest",
            "{SSHA}c2FsdA==",
            "{bcrypt}$2a$10$x",
        ] {
            assert!(is_foreign_hash(hash), "{hash}");
        }
        for secret in
            ["correct horse battery", "$ecret of mine, $5 only", "$$$$$$$$$$$$$$$$", "{}", "{a b} c", "a$b$c$d"]
        {
            assert!(!is_foreign_hash(secret), "{secret}");
        }
    }

    #[tokio::test]
    async fn a_made_hash_knows_its_secret_and_no_other() {
        let hasher = Hasher::start(1, 4).unwrap();
        let phc = hasher.make(secret("correct horse battery"), &*SeededEntropy::new(1)).await.unwrap();
        let hash = ChosenHash::parse(&phc).unwrap();
        assert_eq!(hasher.check(vec![hash.clone()], one(), secret("correct horse battery"), OPEN).await, Ok(Some(0)));
        assert_eq!(hasher.check(vec![hash.clone()], one(), secret("correct horse batterY"), OPEN).await, Ok(None));
        assert_eq!(hasher.check(vec![], one(), secret("correct horse battery"), OPEN).await, Ok(None));
    }

    /// A hash of "right" at these costs.
    fn hash(m: u32, t: u32, p: u32) -> ChosenHash {
        let params = Params::new(m, t, p, Some(32)).unwrap();
        let mut out = [0; 32];
        compute(&params, Version::V0x13, b"right", &[7; 16], &mut out, &mut Vec::new()).unwrap();
        let (salt, output) = (Salt::new(&[7; 16]).unwrap(), Output::new(&out).unwrap());
        ChosenHash { params, version: Version::V0x13, salt, output }
    }

    #[test]
    fn a_wrong_secret_takes_the_same_hashes_whoever_it_is_tried_at() {
        let made = || hash(19_456, 2, 1);
        let costly = || hash(47_104, 3, 4);
        let mut memory = Vec::new();
        // All clients with chosen secrets, and how many hashes of which costs any guess takes then.
        for (clients, plan) in [
            (vec![vec![made()]], vec![made()]),
            (vec![vec![made()], vec![made(), made()]], vec![made(), made()]),
            (vec![vec![made()], vec![costly(), made()]], vec![costly(), made()]),
            (vec![vec![costly()], vec![costly(), costly()]], vec![costly(), costly()]),
        ] {
            let costs = |of: &[ChosenHash]| -> Vec<HashCost> { of.iter().map(|hash| cost_of(&hash.params)).collect() };
            let most = clients.iter().map(|own| HashPlan::of(costs(own))).max().unwrap();
            assert_eq!(most, HashPlan::of(costs(&plan)));
            // The unknown, the disabled and those with secrets that edi made have nothing to compare with.
            let nobody = vec![];
            for own in clients.iter().chain([&nobody]) {
                let (verdict, mut computed) = judge(own, &most, b"wrong", &mut memory);
                let mut expected = costs(&plan);
                computed.sort_unstable();
                expected.sort_unstable();
                assert_eq!((verdict, &computed), (None, &expected), "{:?}", costs(own));
                for index in 0..own.len() {
                    let mut own = own.clone();
                    own.iter_mut().take(index).for_each(|other| other.salt = Salt::new(&[8; 16]).unwrap());
                    assert_eq!(judge(&own, &most, b"right", &mut memory).0, Some(index), "the right one passes");
                }
            }
        }
    }

    #[test]
    fn hashes_of_other_costs_are_made_up_for() {
        let plan = HashPlan::of([HashCost { m: 65_536, t: 2, p: 2 }]);
        for own in [vec![], vec![hash(19_456, 2, 1)], vec![hash(8, 1, 1)], vec![hash(1_000, 3, 2), hash(9_999, 1, 1)]] {
            let (verdict, computed) = judge(&own, &plan, b"wrong", &mut Vec::new());
            let work: u64 = computed.iter().map(|cost| cost.work()).sum();
            assert!(verdict.is_none() && plan.work() - work < 8, "{computed:?}");
        }
    }

    #[test]
    fn what_a_marker_tells_of_a_hash_is_what_it_costs() {
        let made = ChosenHash::make(b"x", [1; 16], &mut Vec::new()).unwrap();
        let shifted = CHEAP.replace("m=8,t=1,p=1", "m=4096,t=3,p=2");
        let unsaid = CHEAP.replace("$m=8,t=1,p=1", "");
        for phc in [CHEAP, &made, &shifted, &shifted.replace("$v=19", ""), &unsaid] {
            let Ok(hash) = ChosenHash::parse(phc) else { panic!("{phc}") };
            assert_eq!(HashCost::of_phc(phc), cost_of(&hash.params), "{phc}");
        }
    }

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let hasher = Hasher::start(1, 1).unwrap();
        let guesses: Vec<_> = (0..16).map(|_| hasher.check(vec![], one(), secret("x"), OPEN)).collect();
        let verdicts = join_all(guesses).await;
        assert!(verdicts.contains(&Err(Busy)), "{verdicts:?}");
        assert!(verdicts.contains(&Ok(None)), "{verdicts:?}");
    }

    async fn join_all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
        let mut pinned: Vec<_> = futures.into_iter().map(|f| (Box::pin(f), None)).collect();
        std::future::poll_fn(|cx| {
            for (future, output) in &mut pinned {
                if output.is_none()
                    && let std::task::Poll::Ready(out) = future.as_mut().poll(cx)
                {
                    *output = Some(out);
                }
            }
            if pinned.iter().all(|(_, out)| out.is_some()) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        pinned.into_iter().filter_map(|(_, out)| out).collect()
    }

    #[test]
    fn foreign_hashes_are_bounded() {
        assert!(ChosenHash::parse(CHEAP).is_ok());
        let costs = |m: u32, t: u32, p: u32| CHEAP.replace("m=8,t=1,p=1", &format!("m={m},t={t},p={p}"));
        for (phc, why) in [
            (costs(65_537, 1, 1), InvalidHash::Costs),
            (costs(8, 11, 1), InvalidHash::Costs),
            (costs(64, 1, 5), InvalidHash::Costs),
            (CHEAP.replace("argon2id", "argon2i"), InvalidHash::Form),
            (CHEAP.replace("argon2id", "scrypt"), InvalidHash::Form),
            ("hunter2".into(), InvalidHash::Form),
            (String::new(), InvalidHash::Form),
            ("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA".into(), InvalidHash::Form),
        ] {
            assert_eq!(ChosenHash::parse(&phc).err(), Some(why), "{phc}");
        }
    }
}
