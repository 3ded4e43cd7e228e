use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Checks order, bounds, sizes and depth of all nodes; gives the depth.
fn check<K: Ord, V>(node: &Node<K, V>, low: Option<&K>, high: Option<&K>) -> usize {
    let is_within =
        |key: &K| low.is_none_or(|low| low <= key) && high.is_none_or(|high| key < high);
    match node {
        Node::Leaf(entries) => {
            assert!((1..=WIDTH).contains(&entries.len()));
            assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
            assert!(entries.iter().all(|(key, _)| is_within(key)));
            1
        }
        Node::Branch(children) => {
            assert!((1..=WIDTH).contains(&children.len()));
            assert!(children.is_sorted_by(|a, b| a.0 < b.0));
            let depths: Vec<usize> = (0..children.len())
                .map(|at| {
                    let high = children.get(at + 1).map(|(first, _)| first).or(high);
                    check(&children[at].1, Some(&children[at].0), high)
                })
                .collect();
            assert!(depths.iter().all(|depth| *depth == depths[0]), "leaves have one depth");
            depths[0] + 1
        }
    }
}

fn same(tree: &Tree<u16, u32>, model: &BTreeMap<u16, u32>) {
    assert_eq!(tree.len(), model.len());
    assert!(tree.iter().eq(model.iter()));
    if let Some(root) = &tree.root {
        check(root, None, None);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u16, u32),
    Remove(u16),
    /// So many in a row.
    Fill(u16, u16),
    Clear(u16, u16),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0..3000u16;
    let step = prop_oneof![
        4 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        4 => key.clone().prop_map(Step::Remove),
        1 => (key.clone(), 0..600u16).prop_map(|(from, count)| Step::Fill(from, count)),
        1 => (key, 0..600u16).prop_map(|(from, count)| Step::Clear(from, count)),
    ];
    proptest::collection::vec(step, 1..60)
}

fn bound() -> impl Strategy<Value = Bound<u16>> {
    let key = 0..4000u16;
    prop_oneof![
        key.clone().prop_map(Bound::Included),
        key.prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

proptest! {
    #[test]
    fn it_is_a_map_and_views_of_it_stay(steps in steps(), start in bound(), end in bound()) {
        let (mut tree, mut model) = (Tree::default(), BTreeMap::new());
        let mut views = Vec::new();
        for step in steps {
            match step {
                Step::Insert(key, value) => {
                    tree.insert(key, value);
                    model.insert(key, value);
                }
                Step::Remove(key) => {
                    tree.remove(&key);
                    model.remove(&key);
                }
                Step::Fill(from, count) => for key in from..from + count {
                    tree.insert(key, u32::from(count));
                    model.insert(key, u32::from(count));
                },
                Step::Clear(from, count) => for key in from..from + count {
                    tree.remove(&key);
                    model.remove(&key);
                },
            }
            same(&tree, &model);
            views.push((tree.clone(), model.clone()));
        }
        for (tree, model) in &views {
            same(tree, model);
        }
        for key in 0..40 {
            assert_eq!(tree.get(&(key * 75)), model.get(&(key * 75)));
        }
        // The model panics at bounds that are the wrong way round.
        let is_empty = match (start, end) {
            (Bound::Excluded(a), Bound::Excluded(b)) => a >= b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => a > b,
            _ => false,
        };
        let found: Vec<_> = tree.range((start, end)).collect();
        let wanted: Vec<_> = if is_empty { Vec::new() } else { model.range((start, end)).collect() };
        assert_eq!(found, wanted);
    }
}

#[test]
fn a_range_visits_what_it_gives_and_little_else() {
    let mut tree = Tree::default();
    for key in 0..100_000u32 {
        tree.insert(key, ());
    }
    let range = tree.range(77_777..77_780);
    // Branches that are half full: what is left of each on the way, and of one leaf.
    assert!(range.above.len() <= 3);
    assert!(range.leaf.len() <= WIDTH);
    assert_eq!(range.map(|(key, ())| *key).collect::<Vec<_>>(), [77_777, 77_778, 77_779]);
}
