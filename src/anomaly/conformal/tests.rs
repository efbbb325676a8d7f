use proptest::prelude::*;

use super::*;

fn scores(count: usize) -> Vec<f64> {
    (1..=count).map(|at| at as f64).collect()
}

#[test]
fn the_p_value_counts_the_calibration_scores_that_reach_the_score() {
    let conformal = Conformal::new(&scores(9), None, 0);
    let p = |score| conformal.p_value(score);
    assert_eq!([p(0.0), p(5.0), p(5.5), p(9.0), p(10.0)], [1.0, 0.6, 0.5, 0.2, 0.1]);
}

#[test]
fn ties_count_against_the_image_or_are_broken_by_the_draw() {
    let conformal = Conformal::new(&[1.0, 2.0, 2.0, 2.0, 3.0], None, 0);
    assert_eq!(conformal.p_value(2.0), 5.0 / 6.0);
    assert_eq!(conformal.p_value_with_ties_drawn(2.0, 0.5), 3.0 / 6.0);
    assert_eq!(conformal.p_value_with_ties_drawn(2.0, 1.0), 5.0 / 6.0);
    assert_eq!(conformal.ties(), 0.6);
}

#[test]
fn the_obtained_rate_of_60_normals_at_5_per_cent_lies_between_1_and_11_and_a_half() {
    // The quantiles of Beta(3, 58) at 0.025 and 0.975.
    let decision = Conformal::new(&scores(60), None, 0).decide(0.05, Guarantee::Marginal).unwrap();
    let (low, high) = decision.interval;
    assert!((low - 0.010_432_3).abs() < 1e-6 && (high - 0.115_281_0).abs() < 1e-6, "{low} {high}");
    // Three of 61 ranks: the scores 59 and 60, and whatever is above.
    assert_eq!(decision.threshold, 58.0);
}

#[test]
fn a_conditional_guarantee_takes_fewer_ranks_and_more_normals() {
    let ranks = |n, rate| [Guarantee::Marginal, Guarantee::Conditional].map(|guarantee| rank(n, rate, guarantee));
    assert_eq!(ranks(179, 0.05), [9, 5]);
    assert_eq!(ranks(602, 0.05), [30, 23]);
    assert_eq!(ranks(229, 0.01), [2, 0]);
    assert_eq!(ranks(230, 0.01), [2, 1]);
    let refused = Conformal::new(&scores(179), None, 0).decide(0.01, Guarantee::Conditional).unwrap_err();
    assert_eq!(refused, TooFew { have: 179, need: 230 });
    let refused = Conformal::new(&scores(50), None, 0).decide(0.01, Guarantee::Marginal).unwrap_err();
    assert_eq!(refused, TooFew { have: 50, need: 99 });
}

#[test]
fn a_score_is_anomalous_exactly_when_it_is_above_the_threshold() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let normals: Vec<f64> = (0..200).map(|_| (random.random::<f64>() * 50.0).round()).collect();
    let groups: Vec<usize> = (0..200).map(|at| at / 5).collect();
    for (grouped, rate) in [(false, 0.01), (false, 0.2), (true, 0.1), (true, 0.3)] {
        let conformal = Conformal::new(&normals, grouped.then_some(&groups[..]), 1);
        let decision = conformal.decide(rate, Guarantee::Marginal).unwrap();
        for step in 0..=208 {
            let score = f64::from(step) * 0.25;
            let anomalous = conformal.p_value(score) <= decision.level;
            assert_eq!(anomalous, score > decision.threshold, "{score} at {rate}: {decision:?}");
        }
    }
}

#[test]
fn the_lowest_rate_is_one_at_which_an_image_can_be_anomalous_and_no_lower_one_is() {
    let groups: Vec<usize> = (0..120).map(|at| at / 4).collect();
    for groups in [None, Some(&groups[..])] {
        let conformal = Conformal::new(&scores(120), groups, 1);
        for guarantee in [Guarantee::Marginal, Guarantee::Conditional] {
            let rate = conformal.lowest_rate(guarantee);
            let decision = conformal.decide(rate, guarantee).unwrap();
            assert!(conformal.lowest_p_value() <= decision.level && decision.threshold.is_finite(), "{decision:?}");
            let below = conformal.decide(rate * 0.999, guarantee);
            assert!(below.is_err_and(|few| few.have < few.need) || groups.is_some(), "{guarantee:?}");
            assert!(below.is_err() || below.is_ok_and(|decision| decision.threshold.is_infinite()));
        }
    }
}

#[test]
fn exchangeable_scores_are_judged_anomalous_at_the_rate_that_was_asked_for() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let (mut anomalous, trials) = (0, 20_000);
    for _ in 0..trials {
        let normals: Vec<f64> = (0..39).map(|_| random.random()).collect();
        let conformal = Conformal::new(&normals, None, 0);
        anomalous += usize::from(conformal.p_value(random.random()) <= 0.1);
    }
    let rate = anomalous as f64 / f64::from(trials);
    // Four of 40 ranks are exactly a tenth; 0.0085 are four standard errors.
    assert!((rate - 0.1).abs() < 0.0085, "{rate}");
}

#[test]
fn groups_whose_members_are_alike_do_not_raise_the_rate() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (mut alike, mut apart, trials) = (0, 0, 2000);
    for _ in 0..trials {
        let lots: Vec<f64> = (0..20).map(|_| random.random()).collect();
        let normals: Vec<f64> = lots.iter().flat_map(|lot| [*lot; 6]).collect();
        let groups: Vec<usize> = (0..120).map(|at| at / 6).collect();
        let score: f64 = random.random();
        let p = |groups| Conformal::new(&normals, groups, 0).p_value(score);
        alike += usize::from(p(Some(&groups[..])) <= 0.1);
        apart += usize::from(p(None) <= 0.1);
    }
    // 120 scores look like more than the 20 lots that they are.
    assert!(alike <= trials / 10 + 54 && apart >= alike, "{alike} {apart}");
}

#[test]
fn benjamini_and_hochberg_reject_what_their_paper_rejects() {
    // Table 1 of their paper of 1995: the four smallest of fifteen at 0.05.
    let p = [
        0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590,
        1.0,
    ];
    assert_eq!(benjamini_hochberg(&p, 0.05).iter().filter(|rejected| **rejected).count(), 4);
    assert!(benjamini_hochberg(&[], 0.05).is_empty());
    assert_eq!(benjamini_hochberg(&[0.9, 0.04], 0.05), [false, false]);
}

#[test]
fn quantiles_are_those_of_numpy() {
    let conformal = Conformal::new(&[4.0, 1.0, 3.0, 2.0], None, 0);
    assert_eq!(conformal.quantile(0.5), Some(2.5));
    assert!((conformal.quantile(0.9).unwrap() - 3.7).abs() < 1e-12);
    assert_eq!(Conformal::new(&[], None, 0).quantile(0.5), None);
}

proptest! {
    /// Among exchangeable scores each of n + 1 is as likely the one to be judged: exactly ⌊α (n + 1)⌋ of them are
    /// anomalous where no two are equal, and no more where some are.
    #[test]
    fn of_exchangeable_scores_exactly_the_share_asked_for_is_anomalous(
        scores in prop::collection::vec(-1e6..1e6_f64, 3..80), ranks in 1_usize..40, rounding in any::<bool>(),
    ) {
        let scores: Vec<f64> = if rounding { scores.iter().map(|score| (score / 1e5).round()).collect() } else { scores };
        let rate = ranks.min(scores.len() - 1) as f64 / scores.len() as f64;
        let anomalous = (0..scores.len()).filter(|&at| {
            let others: Vec<f64> = scores.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, score)| *score).collect();
            let conformal = Conformal::new(&others, None, 0);
            conformal.p_value(scores[at]) <= conformal.decide(rate, Guarantee::Marginal).unwrap().level
        });
        let (count, expected) = (anomalous.count(), ranks.min(scores.len() - 1));
        let mut distinct = scores.clone();
        distinct.sort_by(f64::total_cmp);
        distinct.dedup();
        prop_assert!(count <= expected);
        prop_assert!(count == expected || distinct.len() < scores.len(), "{} of {}", count, expected);
    }
}
