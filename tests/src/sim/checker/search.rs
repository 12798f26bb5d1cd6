//! The search for an order: Wing and Gong's, with Lowe's memory of what was tried.
//!
//! A configuration is the set of steps put in order so far, and the state they lead to. A step may come next when no
//! other unplaced step returned before it was called. The search goes depth first over configurations, keeps its
//! choices on a stack of its own, and turns back from a configuration it has met before. What keeps the number of
//! configurations small, without losing an order when there is one:
//!
//! - Who only sees is placed as soon as what he saw is there: that changes nothing for anybody else.
//! - A state that somebody still has to see, and nobody can restore, is not overwritten.
//! - Of several steps that do the same the one that returns first goes first.
//! - An optional step on one key is placed just before somebody who sees what it set, or never. (In any order,
//!   one whose pair is overwritten unseen can be taken out, and between it and the first to see it nobody touches
//!   the key, so that it can move up to him.) Optional batches are placed freely.
//!
//! Steps are few at any one time, however long the history: the work for each configuration grows with the steps
//! that are open, and none of it with those that are done.
//!
//! A configuration is remembered as 128 bits: each step and each pair of the state has a fixed pseudo-random
//! number, and those present are combined by exclusive or. Two different configurations look alike with a chance of
//! about 2^-128 for each two tried, and then an order might be missed, but never one invented.
//!
//! Deliberately absent: recursion, and allocation once the vectors have grown.

use std::collections::HashSet;

use super::history::{History, NEVER, NONE, Seedless, number};
use super::problem::{Problem, Step};

/// What a search found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// An order of all steps that happened.
    Order,
    /// That there is none.
    NoOrder,
    /// Nothing within the budget.
    GaveUp,
}

/// A set of steps and a state, each as 128 bits, combined.
type Mark = (u64, u64);

/// One choice: the candidates that were there, and what to go back to.
#[derive(Clone, Copy, Debug)]
struct Frame {
    /// The candidates begin here, and the next one to try is there. They end where those of the next frame begin.
    candidates: u32,
    next: u32,
    /// The length of the trail, and the frontier, before the step that led here.
    trail: u32,
    frontier: u32,
}

/// Optional steps that do the same, in the order of their calls. The first ones are placed first.
#[derive(Clone, Copy, Debug)]
struct Kind {
    from: u32,
    to: u32,
    placed: u32,
}

/// Keys with the pair each of them holds, and the memory of one search, kept for the next.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The pair each key holds now.
    state: Vec<u32>,
    /// For each pair, how many unplaced steps must see it, and how many can set it.
    readers: Vec<u32>,
    writers: Vec<u32>,
    /// The steps that must be placed and are not, linked in the order of their calls; the last place is the head.
    next: Vec<u32>,
    previous: Vec<u32>,
    placed: Vec<bool>,
    /// The steps that must be placed, by return.
    by_return: Vec<u32>,
    /// Where in `by_return` the first unplaced step is.
    frontier: usize,
    optional: Vec<u32>,
    kinds: Vec<Kind>,
    /// The kind of each optional step.
    kind_of: Vec<u32>,
    trail: Vec<u32>,
    overwritten: Vec<u32>,
    frames: Vec<Frame>,
    candidates: Vec<u32>,
    /// Candidates on the stack that were not tried yet.
    untried: usize,
    mark: Mark,
    met: HashSet<Mark, Seedless>,
    /// Configurations that were entered.
    pub(super) configurations: u64,
}

impl Search {
    /// Looks for an order of the steps of `problem`, which has been narrowed, over at most `budget` configurations.
    pub(super) fn run(&mut self, history: &History, problem: &Problem, budget: u64) -> Found {
        self.prepare(history, problem);
        let mut at = At { search: self, history, problem };
        at.place_readers();
        if at.finished() {
            return Found::Order;
        }
        at.branch(0, 0);
        at.explore(budget)
    }

    /// Everything unplaced, and each key as it begins.
    fn prepare(&mut self, history: &History, problem: &Problem) {
        let count = problem.steps.len();
        grow(&mut self.state, history.keys.len());
        grow(&mut self.readers, history.pairs.len());
        grow(&mut self.writers, history.pairs.len());
        for &pair in problem.lists.iter().chain(problem.steps.iter().map(|step| &step.misses)) {
            if pair == NONE {
                continue;
            }
            let key = history.pairs[pair as usize].key as usize;
            self.state[key] = history.keys[key].absent;
            for pair in [pair, history.keys[key].absent] {
                self.readers[pair as usize] = 0;
                self.writers[pair as usize] = 0;
            }
        }
        for step in &problem.steps {
            if !step.optional {
                problem.sees(step).iter().for_each(|&pair| self.readers[pair as usize] += 1);
            }
            problem.sets(step).iter().for_each(|&pair| self.writers[pair as usize] += 1);
        }
        self.placed.clear();
        self.placed.resize(count, false);
        self.link(problem);
        self.group(problem);
        self.frontier = 0;
        self.trail.clear();
        self.overwritten.clear();
        self.frames.clear();
        self.candidates.clear();
        self.untried = 0;
        self.mark = (0, 0);
        self.configurations = 0;
        // To empty a table takes as long as it is large.
        if self.met.capacity() > 1 << 12 {
            self.met = HashSet::default();
        } else {
            self.met.clear();
        }
    }

    fn link(&mut self, problem: &Problem) {
        let head = number(problem.steps.len());
        self.next.clear();
        self.next.resize(problem.steps.len() + 1, head);
        self.previous.clear();
        self.previous.resize(problem.steps.len() + 1, head);
        self.by_return.clear();
        let mut last = head;
        for (at, step) in problem.steps.iter().enumerate().filter(|(_, step)| !step.optional) {
            let at = number(at);
            debug_assert!(step.ret != NEVER, "what happened has an end");
            self.next[last as usize] = at;
            self.previous[at as usize] = last;
            self.by_return.push(at);
            last = at;
        }
        self.previous[head as usize] = last;
        self.by_return.sort_unstable_by_key(|&at| problem.steps[at as usize].ret);
    }

    /// Brings optional steps that do the same together.
    fn group(&mut self, problem: &Problem) {
        let step = |at: u32| &problem.steps[at as usize];
        self.optional.clear();
        self.optional.extend((0..number(problem.steps.len())).filter(|&at| step(at).optional));
        self.optional.sort_unstable_by(|&a, &b| {
            problem.effect(step(a)).cmp(&problem.effect(step(b))).then(a.cmp(&b))
        });
        self.kinds.clear();
        grow(&mut self.kind_of, problem.steps.len());
        let mut from = 0;
        for same in
            self.optional.chunk_by(|&a, &b| problem.effect(step(a)) == problem.effect(step(b)))
        {
            for &at in same {
                self.kind_of[at as usize] = number(self.kinds.len());
            }
            let to = from + number(same.len());
            self.kinds.push(Kind { from, to, placed: 0 });
            from = to;
        }
    }
}

fn grow(table: &mut Vec<u32>, len: usize) {
    table.resize(len.max(table.len()), 0);
}

/// A search under way, with what it is about.
struct At<'a> {
    search: &'a mut Search,
    history: &'a History,
    problem: &'a Problem,
}

impl At<'_> {
    fn explore(&mut self, budget: u64) -> Found {
        loop {
            let Some(frame) = self.search.frames.last_mut() else { return Found::NoOrder };
            let Some(&step) = self.search.candidates.get(frame.next as usize) else {
                // All that was possible here has failed: back to before the step that led here.
                let Frame { candidates, trail, frontier, .. } = *frame;
                self.search.frames.pop();
                self.search.candidates.truncate(candidates as usize);
                self.go_back(trail, frontier);
                continue;
            };
            frame.next += 1;
            self.search.untried -= 1;
            let trail = number(self.search.trail.len());
            let frontier = number(self.search.frontier);
            self.place(step);
            self.place_readers();
            self.search.configurations += 1;
            if self.finished() {
                return Found::Order;
            }
            if self.search.configurations > budget {
                return Found::GaveUp;
            }
            // Without another way on the stack nothing can lead here again.
            if self.search.untried > 0 && !self.search.met.insert(self.search.mark) {
                self.go_back(trail, frontier);
                continue;
            }
            self.branch(trail, frontier);
        }
    }

    fn finished(&self) -> bool {
        self.search.frontier == self.search.by_return.len()
    }

    /// The return that no unplaced step may be called after.
    fn bound(&self) -> u32 {
        let first = self.search.by_return.get(self.search.frontier);
        first.map_or(NEVER, |&at| self.step(at).ret)
    }

    fn step(&self, at: u32) -> &Step {
        &self.problem.steps[at as usize]
    }

    /// The pair that the key of `pair` holds.
    fn held(&self, pair: u32) -> u32 {
        self.search.state[self.history.pairs[pair as usize].key as usize]
    }

    /// Whether the state is as the step saw it.
    fn fits(&self, step: &Step) -> bool {
        self.problem.sees(step).iter().all(|&pair| self.held(pair) == pair)
            && (step.misses == NONE || self.held(step.misses) != step.misses)
    }

    /// Places every step that only sees, and fits. They do not change the state, so one walk finds all.
    fn place_readers(&mut self) {
        let head = number(self.problem.steps.len());
        let mut at = self.search.next[head as usize];
        let mut bound = self.bound();
        while at != head && self.step(at).call < bound {
            let next = self.search.next[at as usize];
            let step = self.step(at);
            if self.problem.sets(step).is_empty() && self.fits(step) {
                self.place(at);
                bound = self.bound();
            }
            at = next;
        }
    }

    /// Puts the step next in the order.
    fn place(&mut self, at: u32) {
        let problem = self.problem;
        let step = &problem.steps[at as usize];
        let search = &mut *self.search;
        search.placed[at as usize] = true;
        search.trail.push(at);
        combine(&mut search.mark, u64::from(at));
        if step.optional {
            search.kinds[search.kind_of[at as usize] as usize].placed += 1;
        } else {
            let (next, previous) = (search.next[at as usize], search.previous[at as usize]);
            search.next[previous as usize] = next;
            search.previous[next as usize] = previous;
            problem.sees(step).iter().for_each(|&pair| search.readers[pair as usize] -= 1);
        }
        for &pair in problem.sets(step) {
            let held = &mut search.state[self.history.pairs[pair as usize].key as usize];
            let old = std::mem::replace(held, pair);
            search.overwritten.push(old);
            search.writers[pair as usize] -= 1;
            combine(&mut search.mark, pair_number(old));
            combine(&mut search.mark, pair_number(pair));
        }
        while let Some(&first) = search.by_return.get(search.frontier) {
            if !search.placed[first as usize] {
                break;
            }
            search.frontier += 1;
        }
    }

    /// Takes steps out of the order again, down to a length of the trail.
    fn go_back(&mut self, trail: u32, frontier: u32) {
        let problem = self.problem;
        while self.search.trail.len() > trail as usize {
            let search = &mut *self.search;
            let Some(at) = search.trail.pop() else { break };
            let step = &problem.steps[at as usize];
            search.placed[at as usize] = false;
            combine(&mut search.mark, u64::from(at));
            for &pair in problem.sets(step).iter().rev() {
                let old = search.overwritten.pop().expect("pushed when the step was placed");
                search.state[self.history.pairs[pair as usize].key as usize] = old;
                search.writers[pair as usize] += 1;
                combine(&mut search.mark, pair_number(old));
                combine(&mut search.mark, pair_number(pair));
            }
            if step.optional {
                search.kinds[search.kind_of[at as usize] as usize].placed -= 1;
            } else {
                let (next, previous) = (search.next[at as usize], search.previous[at as usize]);
                search.next[previous as usize] = at;
                search.previous[next as usize] = at;
                problem.sees(step).iter().for_each(|&pair| search.readers[pair as usize] += 1);
            }
        }
        self.search.frontier = frontier as usize;
    }

    /// Lists what may come next, those who return first before the others, and optional steps last.
    fn branch(&mut self, trail: u32, frontier: u32) {
        let start = self.search.candidates.len();
        let head = number(self.problem.steps.len());
        let bound = self.bound();
        let mut at = self.search.next[head as usize];
        while at != head && self.step(at).call < bound {
            let step = self.step(at);
            if !self.problem.sets(step).is_empty() && self.fits(step) && !self.destroys(step) {
                self.search.candidates.push(at);
            }
            at = self.search.next[at as usize];
        }
        let problem = self.problem;
        let step = |at: u32| &problem.steps[at as usize];
        self.search.candidates[start..].sort_unstable_by_key(|&at| step(at).ret);
        let mut kept = start;
        for place in start..self.search.candidates.len() {
            let at = self.search.candidates[place];
            let earlier = &self.search.candidates[start..kept];
            if !earlier.iter().any(|&e| problem.effect(step(e)) == problem.effect(step(at))) {
                self.search.candidates[kept] = at;
                kept += 1;
            }
        }
        self.search.candidates.truncate(kept);
        for kind in 0..self.search.kinds.len() {
            let Kind { from, to, placed } = self.search.kinds[kind];
            if from + placed < to {
                let at = self.search.optional[(from + placed) as usize];
                if self.is_of_use(self.step(at), bound) {
                    self.search.candidates.push(at);
                }
            }
        }
        let candidates = number(start);
        self.search.untried += self.search.candidates.len() - start;
        self.search.frames.push(Frame { candidates, next: candidates, trail, frontier });
    }

    /// Whether the step overwrites what somebody still has to see and nobody can set again.
    fn destroys(&self, step: &Step) -> bool {
        self.problem.sets(step).iter().any(|&pair| {
            let old = self.held(pair);
            let sees_it = !step.optional && self.problem.sees(step).contains(&old);
            old != pair
                && self.search.readers[old as usize] > u32::from(sees_it)
                && self.search.writers[old as usize] == 0
        })
    }

    /// Whether it may be right to place the optional step now.
    fn is_of_use(&self, step: &Step, bound: u32) -> bool {
        let sets = self.problem.sets(step);
        step.call < bound
            && self.fits(step)
            && sets.iter().any(|&pair| self.held(pair) != pair)
            && !self.destroys(step)
            && (sets.len() > 1 || self.is_awaited(sets[0], bound))
    }

    /// Whether some step that could come next wants this pair to be set.
    fn is_awaited(&self, pair: u32, bound: u32) -> bool {
        let key_of = |pair: u32| self.history.pairs[pair as usize].key;
        let wants = |step: &Step| {
            self.problem.sees(step).contains(&pair)
                || (step.misses != NONE
                    && step.misses != pair
                    && key_of(step.misses) == key_of(pair))
        };
        let head = number(self.problem.steps.len());
        let mut at = self.search.next[head as usize];
        while at != head && self.step(at).call < bound {
            if wants(self.step(at)) {
                return true;
            }
            at = self.search.next[at as usize];
        }
        self.search.kinds.iter().any(|kind| {
            let next = self.search.optional[kind.from as usize..kind.to as usize]
                .get(kind.placed as usize);
            next.is_some_and(|&at| self.step(at).call < bound && wants(self.step(at)))
        })
    }
}

/// Numbers of pairs for [`combine`], apart from those of steps.
fn pair_number(pair: u32) -> u64 {
    u64::from(pair) | 1 << 63
}

/// Adds something to a mark, or takes it away again.
fn combine(mark: &mut Mark, of: u64) {
    mark.0 ^= mix(of);
    mark.1 ^= mix(of ^ 0x5851_f42d_4c95_7f2d);
}

/// The finalizer of `SplitMix64`, which spreads each bit over all.
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
