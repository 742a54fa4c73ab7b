//! How far one request goes: less where a server is slow or takes less.

/// Requests of a size that must be answered before it is tried whether the server has become faster; doubled each time that
/// it has not.
const ANSWERED_BEFORE_MORE: u32 = 10;
/// What that is doubled up to.
const MOST_ANSWERED_BEFORE_MORE: u32 = 1280;
/// Batches in a row that are not answered in time before requests become smaller. The first comes again as it was.
const PATIENT_TIMEOUTS: u32 = 2;

/// The size of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestSize {
    members: usize,
    bytes: usize,
    /// What the settings allow.
    most_members: usize,
    /// What a slow server answers in time.
    ceiling: usize,
    /// Answers to requests of that size, and how many there must be.
    answered: u32,
    before_more: u32,
    /// Members of the last request that was answered.
    last_answered: usize,
    /// Batches in a row that were not answered in time.
    timeouts: u32,
}

impl RequestSize {
    /// No limit but what is given.
    pub const UNLIMITED: Self = Self::new(usize::MAX, usize::MAX);

    /// At most so many members and bytes.
    #[must_use]
    pub const fn new(members: usize, bytes: usize) -> Self {
        Self {
            members,
            bytes,
            most_members: members,
            ceiling: members,
            answered: 0,
            before_more: ANSWERED_BEFORE_MORE,
            last_answered: 0,
            timeouts: 0,
        }
    }

    /// Most members of the next request.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members
    }

    /// Most bytes of the next request.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The server took a request of so many members.
    pub fn answered(&mut self, members: usize) {
        self.timeouts = 0;
        self.last_answered = members;
        if self.ceiling < self.most_members && members >= self.ceiling {
            self.answered += 1;
            if self.answered >= self.before_more {
                self.answered = 0;
                self.ceiling = self.ceiling.saturating_mul(2).min(self.most_members);
            }
        }
        self.members = self.members.saturating_mul(2).min(self.ceiling);
    }

    /// A batch of so many members was not answered in time. One that takes too long each time would never arrive, so the next
    /// is smaller.
    pub fn timed_out(&mut self, members: usize) {
        self.timeouts += 1;
        if self.timeouts < PATIENT_TIMEOUTS {
            return;
        }
        let size = self.members.min(members);
        if self.timeouts == PATIENT_TIMEOUTS && (1..size).contains(&self.last_answered) {
            // A smaller one was answered just before: the server is slow. Otherwise it is away, and the way back is short.
            self.ceiling = self.last_answered.max(size / 2);
            self.answered = 0;
            self.before_more = self.before_more.saturating_mul(2).min(MOST_ANSWERED_BEFORE_MORE);
        }
        self.members = (size / 2).max(1);
    }

    /// A body of so many bytes was too large.
    pub fn too_large(&mut self, bytes: usize) {
        self.bytes = (bytes / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends a backlog to a server that answers `fast` members in time; gives the members sent and the batches that timed out.
    fn run(size: &mut RequestSize, fast: usize, batches: u32) -> (usize, u32) {
        let (mut sent, mut timeouts) = (0, 0);
        for _ in 0..batches {
            let members = size.members();
            if members <= fast {
                size.answered(members);
                sent += members;
            } else {
                size.timed_out(1000);
                timeouts += 1;
            }
        }
        (sent, timeouts)
    }

    #[test]
    fn a_slow_server_gets_what_it_can_take_and_seldom_more() {
        let mut size = RequestSize::new(1000, 100);
        size.timed_out(1000);
        assert_eq!(size.members(), 1000, "identical bytes first");
        let (sent, timeouts) = run(&mut size, 300, 3000);
        assert!(timeouts <= 40, "{timeouts}");
        assert!(sent >= 3000 * 200, "{sent}");
        // It becomes faster.
        run(&mut size, 1000, 3000);
        assert_eq!(size.members(), 1000);
    }

    #[test]
    fn the_way_back_from_an_outage_is_short() {
        for before in [0, 50, 1000] {
            let mut size = RequestSize::new(1000, 100);
            if before > 0 {
                size.answered(before);
            }
            run(&mut size, 0, 50);
            assert_eq!(size.members(), 1);
            let (sent, timeouts) = run(&mut size, 1000, 60);
            assert_eq!(timeouts, 0);
            assert!(size.members() == 1000 && sent >= 9000, "{before}: {sent} {size:?}");
        }
    }

    #[test]
    fn a_body_that_was_too_large_is_halved() {
        let mut size = RequestSize::new(1000, 100);
        size.too_large(100);
        assert_eq!(size.bytes(), 50);
        size.too_large(1);
        assert_eq!(size.bytes(), 1);
    }
}
