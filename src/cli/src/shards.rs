//! Work on many shards on all processors, with the results in the order of the shards.

use std::num::NonZero;
use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Result;

/// Shards in one piece of work: enough that handing over the result costs little in comparison.
const SHARDS_PER_PIECE: usize = 8;
/// With more threads, all of them wait for the one that takes the results.
const THREADS_MAX: usize = 16;
/// How many results of a thread wait to be taken. With the pieces being worked on, this bounds the memory.
const RESULTS_WAITING_MAX: usize = 2;

/// Works through `shards` piece by piece with one worker per thread, made by `start`, and hands the result of each piece to `take`,
/// in order. An error of `take` ends the work.
pub(crate) fn in_order<T: Send, W: FnMut(Range<u32>) -> T>(
    shards: Range<u32>,
    start: impl Fn() -> W + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let pieces = pieces(&shards);
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = processors.min(THREADS_MAX).min(pieces.len());
    if threads <= 1 {
        let mut work = start();
        return pieces.into_iter().try_for_each(|piece| take(work(piece)));
    }
    thread::scope(|scope| {
        let (start, pieces) = (&start, &pieces);
        let receivers: Vec<_> = (0..threads)
            .map(|thread| {
                let (sender, receiver) = sync_channel(RESULTS_WAITING_MAX);
                scope.spawn(move || {
                    let mut work = start();
                    // Sending fails if the receiver has gone, which means that `take` has failed.
                    let _ = pieces
                        .iter()
                        .skip(thread)
                        .step_by(threads)
                        .try_for_each(|piece| sender.send(work(piece.clone())));
                });
                receiver
            })
            .collect();
        for receiver in receivers.iter().cycle() {
            // Pieces are dealt in turn, so the first thread without a piece is the one after the last piece's.
            let Ok(result) = receiver.recv() else { break };
            take(result)?;
        }
        Ok(())
    })
}

fn pieces(shards: &Range<u32>) -> Vec<Range<u32>> {
    let ends = shards.clone().step_by(SHARDS_PER_PIECE).skip(1).chain([shards.end]);
    shards.clone().step_by(SHARDS_PER_PIECE).zip(ends).map(|(start, end)| start..end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_is_looked_at_once_and_in_order() {
        for shards in [0..0, 0..1, 3..4, 0..8, 0..9, 5..1000] {
            let mut seen = Vec::new();
            let take = |piece: Vec<u32>| {
                seen.extend(piece);
                Ok(())
            };
            in_order(shards.clone(), || |piece: Range<u32>| piece.collect::<Vec<_>>(), take).unwrap();
            assert_eq!(seen, shards.collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_cannot_be_taken_ends_it() {
        let mut taken = 0;
        let result = in_order(
            0..100_000,
            || |piece: Range<u32>| piece.start,
            |_| {
                taken += 1;
                anyhow::ensure!(taken < 3, "enough");
                Ok(())
            },
        );
        assert_eq!((result.unwrap_err().to_string().as_str(), taken), ("enough", 3));
    }
}
