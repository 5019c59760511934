//! The links between proposers and acceptors, each direction of its own.

use rand::Rng;
use rand::rngs::SmallRng;

use super::parameters::NetworkParameters;

/// What becomes of one message.
pub enum Fate {
    /// It arrives after each of these times: once, or twice.
    Arrives(u64, Option<u64>),
    /// It is lost, and the proposer hears so after this time, or never.
    Lost(Option<u64>),
}

pub struct Network {
    parameters: NetworkParameters,
    /// `[proposer][acceptor]`, for requests and for replies.
    cut_requests: Vec<Vec<bool>>,
    cut_replies: Vec<Vec<bool>>,
    is_healed: bool,
}

impl Network {
    pub fn new(parameters: NetworkParameters, proposers: usize, acceptors: usize) -> Network {
        let none = vec![vec![false; acceptors]; proposers];
        let (cut_requests, cut_replies) = (none.clone(), none);
        Network { parameters, cut_requests, cut_replies, is_healed: false }
    }

    /// No message is lost, doubled or late any more.
    pub fn heal_for_good(&mut self) {
        self.mend();
        self.is_healed = true;
    }

    /// Undoes all cuts.
    pub fn mend(&mut self) {
        for cut in [&mut self.cut_requests, &mut self.cut_replies] {
            cut.iter_mut().flatten().for_each(|is_cut| *is_cut = false);
        }
    }

    /// Cuts nodes off from each other: a partition in two, or single links in
    /// single directions.
    pub fn cut(&mut self, random: &mut SmallRng) {
        let (proposers, acceptors) = (self.cut_requests.len(), self.cut_requests[0].len());
        if random.random_bool(0.5) {
            let side = |count: usize, random: &mut SmallRng| -> Vec<bool> {
                (0..count).map(|_| random.random_bool(0.5)).collect()
            };
            let (left, right) = (side(proposers, random), side(acceptors, random));
            for (p, row) in self.cut_requests.iter_mut().enumerate() {
                row.iter_mut().enumerate().for_each(|(a, is_cut)| *is_cut = left[p] != right[a]);
            }
            self.cut_replies = self.cut_requests.clone();
            return;
        }
        for _ in 0..random.random_range(1..=proposers * acceptors) {
            let (p, a) = (random.random_range(0..proposers), random.random_range(0..acceptors));
            let is_request = random.random_bool(0.5);
            let cut = if is_request { &mut self.cut_requests } else { &mut self.cut_replies };
            cut[p][a] = true;
        }
    }

    pub fn request(&self, random: &mut SmallRng, proposer: usize, acceptor: usize) -> Fate {
        self.fate(random, self.cut_requests[proposer][acceptor])
    }

    pub fn reply(&self, random: &mut SmallRng, proposer: usize, acceptor: usize) -> Fate {
        self.fate(random, self.cut_replies[proposer][acceptor])
    }

    fn fate(&self, random: &mut SmallRng, is_cut: bool) -> Fate {
        let NetworkParameters { loss, told, duplication, .. } = self.parameters;
        if self.is_healed {
            return Fate::Arrives(self.parameters.delay.0, None);
        }
        if is_cut || random.random_bool(loss) {
            let is_told = random.random_bool(told);
            return Fate::Lost(is_told.then(|| self.delay(random)));
        }
        let second = random.random_bool(duplication).then(|| self.delay(random));
        Fate::Arrives(self.delay(random), second)
    }

    fn delay(&self, random: &mut SmallRng) -> u64 {
        let NetworkParameters { delay, slow, slow_delay, .. } = self.parameters;
        if random.random_bool(slow) { slow_delay.draw(random) } else { delay.draw(random) }
    }
}
