//! Bars over a time axis, for people. Pure: knows neither terminals nor what the bars mean.
//!
//! A key signs for weeks and waits for minutes, so the axis is no ruler: each stretch between two instants gets some
//! columns, longer ones more, and letters say which instant is which.

use crate::model::time::Timestamp;

/// Fewer columns than this between two instants cannot be told apart.
const LEAST: usize = 2;
/// What comes after the last instant.
const TAIL: usize = 3;
/// Wider bars than this tell no more.
const WIDEST: usize = 100;

/// Where instants stand on a line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Axis {
    instants: Vec<Timestamp>,
    columns: Vec<usize>,
    width: usize,
}

impl Axis {
    /// Lays instants (in order, each once) out on `width` columns. `None` when they do not fit.
    pub(super) fn new(instants: Vec<Timestamp>, width: usize) -> Option<Self> {
        let width = width.min(WIDEST);
        let stretches = instants.len().checked_sub(1)?;
        let spare = width.checked_sub(TAIL + stretches * LEAST + 1)?;
        // How much longer feels longer: by magnitude.
        let weights: Vec<u64> = instants
            .iter()
            .zip(instants.iter().skip(1))
            .map(|(from, to)| 1 + u64::from((to.since(*from).as_secs() / 60 + 1).ilog2()))
            .collect();
        let total = weights.iter().sum::<u64>().max(1);
        let (mut columns, mut sum) = (vec![0], 0);
        for (n, weight) in weights.iter().enumerate() {
            sum += weight;
            let share = u64::try_from(spare).unwrap_or(0) * sum / total;
            columns.push((n + 1) * LEAST + usize::try_from(share).unwrap_or(0));
        }
        Some(Self { instants, columns, width })
    }

    /// A line with a mark at each instant.
    pub(super) fn marks(&self, mark: impl Fn(Timestamp) -> char) -> String {
        let mut line = vec![' '; self.width];
        for (at, column) in self.instants.iter().zip(&self.columns) {
            if let Some(place) = line.get_mut(*column) {
                *place = mark(*at);
            }
        }
        line.into_iter().collect::<String>().trim_end().to_owned()
    }

    /// Stretches of the line with what holds in them, as `what` says of each instant until the next.
    pub(super) fn bar<T: PartialEq>(&self, what: impl Fn(Timestamp) -> T) -> Vec<(T, usize)> {
        let ends = self.columns.iter().skip(1).copied().chain([self.width]);
        let mut out: Vec<(T, usize)> = Vec::new();
        for ((at, start), end) in self.instants.iter().zip(&self.columns).zip(ends) {
            let (now, length) = (what(*at), end.saturating_sub(*start));
            match out.last_mut() {
                Some((last, so_far)) if *last == now => *so_far += length,
                _ => out.push((now, length)),
            }
        }
        out
    }
}

/// Text in lines of at most `width` characters, the second and later ones indented. Words that are longer are cut.
pub(super) fn wrapped(text: &str, width: usize, indent: usize) -> String {
    let width = width.max(8);
    let indent = if indent + 8 > width { 0 } else { indent };
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    let room = |first: bool| if first { width } else { width - indent };
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let room = room(lines.is_empty());
            let taken = line.chars().count();
            let gap = usize::from(taken > 0);
            if taken + gap + word.len() <= room {
                if gap == 1 {
                    line.push(' ');
                }
                line.extend(&word);
                break;
            }
            if taken > 0 {
                lines.push(std::mem::take(&mut line));
                continue;
            }
            let rest = word.split_off(room.min(word.len()));
            lines.push(word.iter().collect());
            word = rest;
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    let pad = " ".repeat(indent);
    lines.join(&format!("\n{pad}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn axis(secs: &[i64], width: usize) -> Option<Axis> {
        Axis::new(secs.iter().map(|secs| Timestamp::from_secs(*secs)).collect(), width)
    }

    #[test]
    fn instants_stand_in_order_and_bars_fill_the_line() {
        let axis = axis(&[0, 3600, 2_592_000, 2_592_960], 40).unwrap();
        assert_eq!(axis.marks(|at| if at.secs() == 0 { 'a' } else { 'b' }).trim().len(), axis.columns[3] + 1);
        let bar = axis.bar(|at| at.secs() >= 3600);
        assert_eq!(bar.iter().map(|(_, length)| length).sum::<usize>(), 40);
        assert_eq!(bar.iter().map(|(what, _)| *what).collect::<Vec<_>>(), [false, true]);
        assert!(axis.columns[2] - axis.columns[1] > axis.columns[1] - axis.columns[0], "longer is longer");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        assert!(axis(&[0, 1, 2, 3], 9).is_none() && axis(&[0, 1, 2, 3], 10).is_some());
        assert!(axis(&[], 80).is_none());
    }

    #[test]
    fn text_is_wrapped_with_an_indent() {
        assert_eq!(wrapped("one two three four", 9, 1), "one two\n three\n four");
        assert_eq!(wrapped("abcdefghijklmnopqrst x", 10, 2), "abcdefghij\n  klmnopqr\n  st x");
        assert_eq!(wrapped("", 20, 2), "");
    }

    proptest! {
        #[test]
        fn every_layout_keeps_its_width(steps in prop::collection::vec(1_i64..10_000_000, 0..30), width in 0_usize..200) {
            let mut at = 0;
            let instants: Vec<i64> = std::iter::once(0).chain(steps.iter().map(|step| { at += step; at })).collect();
            if let Some(axis) = axis(&instants, width) {
                prop_assert!(axis.columns.is_sorted_by(|a, b| a + LEAST <= *b), "{:?}", axis.columns);
                prop_assert!(axis.columns.last().is_some_and(|last| last + TAIL <= width.min(WIDEST)));
                prop_assert_eq!(axis.bar(|at| at).iter().map(|(_, n)| n).sum::<usize>(), width.min(WIDEST));
            } else {
                prop_assert!(width < TAIL + steps.len() * LEAST + 1);
            }
        }

        #[test]
        fn no_line_is_wider_than_it_may_be(text in "[a-zé ]{0,200}", width in 0_usize..60, indent in 0_usize..12) {
            let lines = wrapped(&text, width, indent);
            prop_assert!(lines.lines().all(|line| line.chars().count() <= width.max(8)), "{lines}");
            let plain = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(plain(&lines), plain(&text));
        }
    }
}
