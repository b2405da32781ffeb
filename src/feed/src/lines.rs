//! Lines out of chunks, bounded.

use thiserror::Error;

use crate::protocol::LINE_BYTES_MAX;

/// Splits chunks, cut anywhere, into lines of at most [`LINE_BYTES_MAX`] bytes. Both `\n` and `\r\n`
/// end a line for [`LineSplitter::push`]; the `\r` is left to the caller, who may need it for a digest.
#[derive(Debug, Default)]
pub(crate) struct LineSplitter {
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
}

/// A line that has no end within its bound: not a stream of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a line is longer than {LINE_BYTES_MAX} bytes")]
pub struct LineTooLong;

impl LineSplitter {
    /// Gives each line that ends in `chunk` to `take`, without its newline, and stops at the first error.
    pub(crate) fn push<E: From<LineTooLong>>(
        &mut self,
        mut chunk: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = memchr::memchr(b'\n', chunk) {
            let (line, rest) = chunk.split_at(end);
            chunk = rest.get(1..).unwrap_or_default();
            if self.partial.is_empty() {
                within_bound(line.len())?;
                take(line)?;
            } else {
                self.extend(line)?;
                take(&self.partial)?;
                self.partial.clear();
            }
        }
        Ok(self.extend(chunk)?)
    }

    /// What came after the last newline.
    pub(crate) fn remainder(&self) -> &[u8] {
        &self.partial
    }

    fn extend(&mut self, part: &[u8]) -> Result<(), LineTooLong> {
        within_bound(self.partial.len() + part.len())?;
        self.partial.extend_from_slice(part);
        Ok(())
    }
}

fn within_bound(length: usize) -> Result<(), LineTooLong> {
    if length > LINE_BYTES_MAX { Err(LineTooLong) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Result<(Vec<Vec<u8>>, Vec<u8>), LineTooLong> {
        let (mut splitter, mut lines) = (LineSplitter::default(), Vec::new());
        for chunk in chunks {
            splitter.push(chunk, |line| {
                lines.push(line.to_vec());
                Ok::<_, LineTooLong>(())
            })?;
        }
        Ok((lines, splitter.remainder().to_vec()))
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_it_fills_memory() {
        let longest = vec![b'a'; LINE_BYTES_MAX];
        assert!(split(&[&longest, b"\n"]).is_ok());
        assert_eq!(split(&[&longest, b"a"]), Err(LineTooLong));
        assert_eq!(split(&[b"a", &longest, b"\n"]), Err(LineTooLong));
        assert_eq!(split(&[&[b"a", longest.as_slice(), b"\n"].concat()]), Err(LineTooLong));
    }

    proptest! {
        #[test]
        fn where_a_chunk_is_cut_makes_no_difference(text in "[ab\n]{0,60}", cuts in proptest::collection::vec(0_usize..60, 0..6)) {
            let whole = split(&[text.as_bytes()]).unwrap();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let (mut chunks, mut rest, mut taken) = (Vec::new(), text.as_bytes(), 0);
            for cut in cuts {
                let (head, tail) = rest.split_at(cut - taken);
                chunks.push(head);
                (rest, taken) = (tail, cut);
            }
            chunks.push(rest);
            prop_assert_eq!(split(&chunks).unwrap(), whole);
        }
    }
}
