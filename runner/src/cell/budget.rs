//! How much of a guest's text is kept: a guest that floods its console must not fill the disk.

/// Most bytes of one kind that are passed on, per guest.
const MAX_BYTES: u64 = 64 << 20;

/// What is left of an allowance.
#[derive(Debug)]
pub struct Budget {
    what: &'static str,
    left: u64,
    told: bool,
}

impl Budget {
    /// A full allowance for one kind of text.
    pub fn new(what: &'static str) -> Self {
        Self { what, left: MAX_BYTES, told: false }
    }

    /// Takes a line of so many bytes. False: it is not to be passed on.
    ///
    /// # Errors
    /// The allowance has just run out: a note that says so, given once.
    pub fn take(&mut self, bytes: usize) -> Result<bool, String> {
        let bytes = bytes as u64 + 1;
        if self.left >= bytes {
            self.left -= bytes;
            return Ok(true);
        }
        self.left = 0;
        if self.told {
            return Ok(false);
        }
        self.told = true;
        Err(format!("the guest's {} went past {} MiB; the rest is not kept", self.what, MAX_BYTES >> 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_once_that_it_ran_out() {
        let mut budget = Budget::new("console");
        assert_eq!(budget.take((MAX_BYTES - 1) as usize), Ok(true));
        assert!(budget.take(0).unwrap_err().contains("console"));
        assert_eq!(budget.take(0), Ok(false));
    }
}
