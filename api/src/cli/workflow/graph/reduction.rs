//! Leaves out what a reader can tell: the edges that a longer way implies.

/// A step that comes first, and whether it may have been skipped.
type Need = (usize, bool);

/// Removes from the needs of each step those that say nothing new. Steps come after what they need.
///
/// A need that may be skipped only says what comes first: any longer way says it too. One that may
/// not be skipped is implied only by a way on which nothing may be skipped.
pub(super) fn reduce(needs: &[Vec<Need>]) -> Vec<Vec<Need>> {
    let words = needs.len().div_ceil(BITS);
    let mut before = vec![Set::empty(words); needs.len()];
    let mut strictly_before = before.clone();
    let mut reduced = Vec::with_capacity(needs.len());
    for (step, needs) in needs.iter().enumerate() {
        let (mut farther, mut strictly) = (Set::empty(words), Set::empty(words));
        for (need, any) in needs {
            farther.add_all(&before[*need]);
            if !any {
                strictly.add_all(&strictly_before[*need]);
            }
        }
        let new = |(need, any): &&Need| {
            let implied = if *any { &farther } else { &strictly };
            !implied.has(*need)
        };
        reduced.push(needs.iter().filter(new).copied().collect());
        for (need, any) in needs {
            farther.add(*need);
            if !any {
                strictly.add(*need);
            }
        }
        before[step] = farther;
        strictly_before[step] = strictly;
    }
    reduced
}

const BITS: usize = 64;

/// Steps by number, a bit each: 1,000 steps that all need each other take 16 million operations.
#[derive(Debug, Clone)]
struct Set(Vec<u64>);

impl Set {
    fn empty(words: usize) -> Self {
        Self(vec![0; words])
    }

    fn add(&mut self, step: usize) {
        self.0[step / BITS] |= 1 << (step % BITS);
    }

    fn add_all(&mut self, others: &Self) {
        for (word, other) in self.0.iter_mut().zip(&others.0) {
            *word |= other;
        }
    }

    fn has(&self, step: usize) -> bool {
        self.0[step / BITS] & (1 << (step % BITS)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_that_a_longer_way_implies_is_left_out() {
        let needs = [vec![], vec![(0, false)], vec![(0, false), (1, false)]];
        assert_eq!(reduce(&needs), [vec![], vec![(0, false)], vec![(1, false)]]);
    }

    #[test]
    fn a_way_past_a_step_that_may_be_skipped_implies_the_order_alone() {
        let strict = [vec![], vec![(0, false)], vec![(0, false), (1, true)]];
        assert_eq!(reduce(&strict), strict);
        let any = [vec![], vec![(0, false)], vec![(0, true), (1, true)]];
        assert_eq!(reduce(&any)[2], [(1, true)]);
    }
}
