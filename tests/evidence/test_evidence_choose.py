"""Which replicates run next: value per second, shared arms paid once, the budget kept."""

from reprood.evidence.choose import Look, choose, cost, raised

ERM, A, B, C = ("bench", "erm"), ("bench", "a"), ("bench", "b"), ("bench", "c")
HAVE = {ERM: 5, A: 5, B: 5, C: 10}
SECONDS = {ERM: 10.0, A: 10.0, B: 30.0, C: 10.0}


def look(name, *arms, value=0.5, number=2, replicates=10, exploratory=False):
    return Look(name, arms, number, replicates, value, exploratory)


def test_cost_counts_missing_replicates_and_shared_arms_once():
    first, second = look("p/first", A, ERM), look("p/second", B, ERM)
    assert cost(HAVE, [first], SECONDS) == 5 * 10 + 5 * 10
    assert cost(HAVE, [second], SECONDS) == 5 * 30 + 5 * 10
    assert cost(HAVE, [first, second], SECONDS) == 5 * 10 + 5 * 10 + 5 * 30
    assert cost(HAVE, [look("p/there", C)], SECONDS) == 0


def test_replicates_are_raised_never_lowered():
    assert raised(HAVE, [look("p/c", C, A, replicates=8)]) == {ERM: 5, A: 8, B: 5, C: 10}


def test_the_best_value_per_second_comes_first():
    cheap, dear = look("p/cheap", A, ERM, value=0.3), look("p/dear", B, ERM, value=0.5)
    assert choose(HAVE, [dear, cheap], SECONDS, most=390) == [cheap]  # a quarter is 97.5, and cheap costs 100


def test_a_batch_ends_at_its_share():
    looks = [look("p/first", A, ERM), look("p/second", B, ERM)]
    assert choose(HAVE, looks, SECONDS, most=401, share=0.25) == looks  # 100 is below a quarter: one more
    assert choose(HAVE, looks, SECONDS, most=400, share=0.25) == looks[:1]


def test_a_shared_arm_makes_the_second_claim_cheaper():
    """Alone, `other` has the better rate; beside `first`, which pays for erm, `second` has."""
    first = look("p/first", A, ERM, value=0.9)
    second, other = look("p/second", B, ERM, value=0.51), look("p/other", B, value=0.5)
    assert choose(HAVE, [first, other, second], SECONDS, most=1000, share=0.2) == [first, second]


def test_one_look_of_a_claim_is_chosen():
    near, far = look("p/a", A, value=0.01), look("p/a", A, value=0.9, number=4, replicates=40)
    assert choose(HAVE, [near, far], SECONDS, most=1000) == [far]
    assert choose(HAVE, [near, far], SECONDS, most=340) == [near], "40 replicates do not fit"


def test_what_does_not_fit_is_left_out():
    dear, cheap = look("p/dear", B, ERM, value=1.0), look("p/cheap", A, value=0.01)
    assert choose(HAVE, [dear, cheap], SECONDS, most=199) == [cheap]
    assert choose(HAVE, [dear], SECONDS, most=199) == []
    assert choose(HAVE, [], SECONDS, most=199) == []


def test_exploratory_claims_wait_for_main_claims():
    main, other = look("p/main", B, ERM, value=0.01), look("p/other", A, ERM, value=1.0, exploratory=True)
    assert choose(HAVE, [other, main], SECONDS, most=1000) == [main]
    assert choose(HAVE, [other, main], SECONDS, most=150) == [other]


def test_a_look_without_cost_is_taken_first():
    free = look("p/free", C, value=0.01)
    assert choose(HAVE, [look("p/a", A, value=1.0), free], SECONDS, most=100)[0] == free
