//! Random numbers that a failed test can repeat.

/// A pseudo-random sequence (xorshift64*, Marsaglia and Vigna), determined by its seed.
#[derive(Debug, Clone)]
pub struct SeededRng(u64);

impl SeededRng {
    /// The sequence of `PUSHKEYS_TEST_SEED`, or of a new seed. Prints the seed for the log of a failed test.
    #[must_use]
    pub fn from_environment() -> Self {
        let given = std::env::var("PUSHKEYS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("PUSHKEYS_TEST_SEED={seed}");
        Self::new(seed)
    }

    /// The sequence of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // The state must not be zero, and similar seeds should not begin alike.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`, which must not be zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    /// One of `items`, which must not be empty.
    #[track_caller]
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        let index = self.below(items.len() as u64);
        items.get(usize::try_from(index).expect("below a length")).expect("below the length")
    }
}
