//! Many shards on all processors, and what came of them in the shards' own order.

use std::num::NonZero;
use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::thread;

use anyhow::Result;

/// Shards that are one piece of work: so many that handing over what came of them costs nothing beside it.
const SHARDS_PER_PIECE: usize = 8;
/// With more threads, whoever takes the results is what all of them wait for.
const THREADS_MAX: usize = 16;
/// How many results of a thread wait to be taken: with the pieces that are worked at, all that is in memory.
const RESULTS_WAITING_MAX: usize = 2;

/// Has workers, of which `start` makes one for each thread, look at `shards` piece by piece, and hands what came of
/// each piece to `take`, in order. An error of `take` ends it.
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
                    // It is nobody's loss if the receiver has gone: `take` has failed.
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
            // Pieces are dealt in turn, so the first thread that has none left is the one after the last piece's.
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
