//! Several streams as one, in the order of a key.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use futures_util::future::join_all;
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};

/// Items of all streams, the one with the least key first; equal keys in the order of the streams. Each stream is
/// taken to be in order by itself. Holds one item of each, and waits for a stream that has none.
pub fn in_order<T, K>(
    streams: Vec<BoxStream<'static, T>>,
    key: fn(&T) -> K,
) -> impl Stream<Item = T> + Send
where
    T: Send + 'static,
    K: Ord + Send + 'static,
{
    let state = Merge {
        streams: streams.into_iter().enumerate().collect(),
        heads: BTreeMap::new(),
        order: BinaryHeap::new(),
        key,
    };
    stream::unfold(state, |mut state| async move {
        let item = state.next().await?;
        Some((item, state))
    })
}

struct Merge<T, K> {
    /// Those that have not ended.
    streams: BTreeMap<usize, BoxStream<'static, T>>,
    heads: BTreeMap<usize, T>,
    order: BinaryHeap<Reverse<(K, usize)>>,
    key: fn(&T) -> K,
}

impl<T, K: Ord> Merge<T, K> {
    async fn next(&mut self) -> Option<T> {
        let heads = &self.heads;
        let waiting = self.streams.iter_mut().filter(|(number, _)| !heads.contains_key(number));
        // All at once: the first items of many streams cost one wait, not many.
        let came = join_all(waiting.map(|(number, stream)| async {
            let number = *number;
            (number, stream.next().await)
        }));
        for (number, item) in came.await {
            match item {
                Some(item) => {
                    self.order.push(Reverse(((self.key)(&item), number)));
                    self.heads.insert(number, item);
                }
                None => drop(self.streams.remove(&number)),
            }
        }
        let Reverse((_, number)) = self.order.pop()?;
        self.heads.remove(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(lists: &[&[(u32, char)]]) -> String {
        let streams = lists.iter().map(|list| stream::iter(list.to_vec()).boxed()).collect();
        let merged = in_order(streams, |(at, _): &(u32, char)| *at).map(|(_, name)| name);
        futures_util::FutureExt::now_or_never(merged.collect()).unwrap()
    }

    #[test]
    fn the_least_key_comes_first_and_equal_ones_by_stream() {
        let (left, right) = ([(1, 'a'), (4, 'd'), (5, 'f')], [(2, 'b'), (3, 'c'), (4, 'e')]);
        assert_eq!(merged(&[&left, &right, &[]]), "abcdef");
        assert_eq!(merged(&[&right, &left]), "abcedf");
        assert_eq!(merged(&[]), "");
    }

    #[test]
    fn a_stream_that_is_silent_is_waited_for() {
        let ready = stream::iter([(1, 'a')]).boxed();
        let streams = vec![ready, stream::pending().boxed()];
        let mut merged = Box::pin(in_order(streams, |(at, _): &(u32, char)| *at));
        assert_eq!(futures_util::FutureExt::now_or_never(merged.next()), None);
    }
}
