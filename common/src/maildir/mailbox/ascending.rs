//! Numbers in ascending order: rows, UIDs.

/// Numbers in ascending order, each once.
#[derive(Debug, Default, Clone)]
pub(in super::super) struct Ascending(Vec<u32>);

impl Ascending {
    pub fn insert(&mut self, number: u32) {
        match self.0.last() {
            Some(&last) if last >= number => {
                if let Err(at) = self.0.binary_search(&number) {
                    self.0.insert(at, number);
                }
            }
            _ => self.0.push(number),
        }
    }

    pub fn contains(&self, number: u32) -> bool {
        self.0.binary_search(&number).is_ok()
    }

    /// How many are below `number`.
    pub fn below(&self, number: u32) -> u32 {
        self.0.partition_point(|&other| other < number) as u32
    }

    pub fn as_slice(&self) -> &[u32] {
        &self.0
    }

    pub fn take(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.0)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn retain(&mut self, keeps: impl Fn(u32) -> bool) {
        self.0.retain(|&number| keeps(number));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over numbers that ascend.
    pub fn unite(&mut self, others: &[u32]) {
        let mut united = Vec::with_capacity(self.0.len() + others.len());
        let (mut mine, mut theirs) = (self.0.iter().copied().peekable(), others.iter().copied().peekable());
        loop {
            let next = match (mine.peek(), theirs.peek()) {
                (Some(&a), Some(&b)) if a <= b => mine.next(),
                (_, Some(_)) => theirs.next(),
                (_, None) => mine.next(),
            };
            let Some(next) = next else { break };
            if united.last() != Some(&next) {
                united.push(next);
            }
        }
        self.0 = united;
    }
}
