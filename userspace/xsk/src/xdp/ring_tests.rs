//! Tests of the rings without a kernel: ordinary memory and plain threads only, so that Miri can run them too
//! (`cargo +nightly miri test -p strowger-xsk --lib ring::`), and loom those that say so
//! (`cargo test -p strowger-xsk --features loom --lib loom`).

use super::fake::ring;

/// Indices near the wrap, at it, and far from it.
#[cfg(not(feature = "loom"))]
const FIRST: [u32; 6] = [0, 1, u32::MAX, u32::MAX - 1, u32::MAX - 7, 1 << 31];

#[cfg(not(feature = "loom"))]
mod alone {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn full_is_full_and_empty_is_empty_at_every_index() {
        for first in FIRST {
            let (mut producer, mut consumer, _) = ring::<u64>(8, first, 0);
            assert_eq!(consumer.pop(), None);
            for value in 0..8 {
                assert!(producer.push(value));
            }
            assert!(!producer.push(8), "the ninth of eight");
            assert_eq!(consumer.pop(), None, "not submitted yet");
            producer.submit();
            assert_eq!((producer.pending(), consumer.pending()), (8, 8));
            for value in 0..8 {
                assert_eq!(consumer.pop(), Some(value), "first index {first}");
            }
            assert_eq!(consumer.pop(), None);
            assert!(!producer.push(8), "read, but not released yet");
            consumer.release();
            assert!(producer.push(8));
            assert_eq!(producer.unsubmitted(), 1);
        }
    }

    #[test]
    fn a_ring_of_one_slot_works() {
        let (mut producer, mut consumer, _) = ring::<u64>(1, u32::MAX, 0);
        for value in 0..5 {
            assert!(producer.push(value));
            assert!(!producer.push(99));
            producer.submit();
            assert_eq!(consumer.pop(), Some(value));
            consumer.release();
        }
    }

    #[test]
    fn a_reservation_may_be_partial() {
        let (mut producer, mut consumer, _) = ring::<u64>(8, u32::MAX - 3, 0);
        assert_eq!(producer.reserve(64), 8);
        for value in 0..6 {
            assert!(producer.push(value));
        }
        assert_eq!(producer.reserve(64), 2);
        assert_eq!(producer.reserve(1), 1);
        producer.submit();
        assert_eq!(consumer.peek(64), 6);
        assert_eq!(consumer.peek(4), 4);
        for _ in 0..4 {
            consumer.pop();
        }
        assert_eq!(consumer.peek(64), 2);
        assert_eq!(producer.reserve(64), 2, "nothing is released yet");
        consumer.release();
        assert_eq!(producer.reserve(64), 6);
    }

    #[test]
    fn indices_wrap_as_often_as_they_like() {
        let (mut producer, mut consumer, _) = ring::<u64>(4, u32::MAX - 1000, 0);
        for value in 0..5000 {
            assert!(producer.push(value));
            producer.submit();
            assert_eq!(consumer.pop(), Some(value));
            consumer.release();
        }
    }

    #[test]
    fn an_impossible_index_from_the_other_side_is_not_followed() {
        for nonsense in [9, 1 << 31, u32::MAX - 8] {
            let (mut producer, _, hand) = ring::<u64>(8, 0, 0);
            hand.set_consumer(nonsense);
            // More than was free when it last looked, so that it looks.
            assert_eq!(producer.reserve(9), 0, "consumer index {nonsense}");
            assert!(!producer.push(1));
            assert!(producer.pending() <= 8);

            let (_, mut consumer, hand) = ring::<u64>(8, 0, 0);
            hand.set_producer(nonsense);
            assert_eq!(consumer.peek(1), 0, "producer index {nonsense}");
            assert_eq!(consumer.pop(), None);
            assert!(consumer.pending() <= 8);
        }
    }

    #[test]
    fn the_wakeup_flag_is_read() {
        let (producer, _, hand) = ring::<u64>(8, 0, 0);
        assert!(!producer.needs_wakeup());
        hand.set_need_wakeup(true);
        assert!(producer.needs_wakeup());
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push(u8),
        Submit,
        Pop(u8),
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..20u8).prop_map(Step::Push),
            Just(Step::Submit),
            (1..20u8).prop_map(Step::Pop),
            Just(Step::Release),
        ]
    }

    proptest! {
        // Miri is some hundred times slower, and has no files to keep failures in.
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 512 },
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        /// The oracle: a queue of what is submitted, a queue of what isn't, and a count of what is read but not
        /// released.
        #[test]
        fn a_ring_is_a_queue(
            shift in 0..6u32,
            first in prop_oneof![Just(0), Just(u32::MAX), any::<u32>(), (u32::MAX - 100)..],
            steps in prop::collection::vec(step(), 0..if cfg!(miri) { 40 } else { 200 }),
        ) {
            let size = 1 << shift;
            let (mut producer, mut consumer, _) = ring::<u64>(size, first, 0);
            let (mut written, mut submitted) = (VecDeque::new(), VecDeque::new());
            let mut read = 0;
            let mut value = 0;
            for step in steps {
                let used = written.len() + submitted.len() + read;
                match step {
                    Step::Push(count) => {
                        let free = size as usize - used;
                        prop_assert_eq!(producer.reserve(count.into()) as usize, free.min(count.into()));
                        for nth in 0..usize::from(count) {
                            value += 1;
                            prop_assert_eq!(producer.push(value), nth < free);
                            if nth < free {
                                written.push_back(value);
                            }
                        }
                    }
                    Step::Submit => {
                        producer.submit();
                        submitted.append(&mut written);
                    }
                    Step::Pop(count) => {
                        let wanted = usize::from(count).min(submitted.len());
                        prop_assert_eq!(consumer.peek(count.into()) as usize, wanted);
                        for _ in 0..count {
                            let expected = submitted.pop_front();
                            read += usize::from(expected.is_some());
                            prop_assert_eq!(consumer.pop(), expected);
                        }
                    }
                    Step::Release => {
                        consumer.release();
                        read = 0;
                    }
                }
                prop_assert_eq!(producer.unsubmitted() as usize, written.len());
                prop_assert_eq!(consumer.pending() as usize, submitted.len());
                let in_ring = written.len() + submitted.len() + read;
                prop_assert_eq!(producer.pending() as usize, in_ring);
            }
        }
    }

    #[test]
    fn two_threads_see_every_descriptor_whole_and_in_order() {
        let count: u64 = if cfg!(miri) { 300 } else { 2_000_000 };
        let (mut producer, mut consumer, _) = ring::<[u64; 2]>(64, u32::MAX - 100, [0; 2]);
        let writer = std::thread::spawn(move || {
            let mut value = 0;
            while value < count {
                let batch = u64::from(producer.reserve(17)).min(count - value);
                for _ in 0..batch {
                    assert!(producer.push([value, !value]));
                    value += 1;
                }
                producer.submit();
                if batch == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let mut expected = 0;
        while expected < count {
            match consumer.pop() {
                Some(pair) => {
                    assert_eq!(pair, [expected, !expected]);
                    expected += 1;
                    if expected.is_multiple_of(5) {
                        consumer.release();
                    }
                }
                None => {
                    // Looked at before the ring: what a finished writer wrote is all there.
                    let finished = writer.is_finished();
                    consumer.release();
                    assert!(!finished || consumer.peek(1) == 1, "the writer ended at {expected} of {count}");
                    std::thread::yield_now();
                }
            }
        }
        writer.join().unwrap();
    }
}

/// Every interleaving and every reordering that the memory model allows: with a weaker ordering at any of the four
/// places (publish and load, at both ends), loom reports the race.
#[cfg(feature = "loom")]
mod loom_model {
    use super::ring;

    #[test]
    fn loom_every_schedule_passes_descriptors_whole_and_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer, _) = ring::<u64>(2, u32::MAX, 0);
            let writer = loom::thread::spawn(move || {
                let mut value = 1;
                while value <= 3 {
                    if producer.push(value) {
                        value += 1;
                        producer.submit();
                    } else {
                        loom::thread::yield_now();
                    }
                }
            });
            let mut expected = 1;
            while expected <= 3 {
                match consumer.pop() {
                    Some(value) => {
                        assert_eq!(value, expected);
                        expected += 1;
                        consumer.release();
                    }
                    None => loom::thread::yield_now(),
                }
            }
            writer.join().unwrap();
        });
    }
}
