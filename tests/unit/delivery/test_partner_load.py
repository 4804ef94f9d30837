from __future__ import annotations

from fhir_hub_bridge.delivery.partner_load import PartnerLoad


def in_trouble(load: PartnerLoad, partner: str, *, now: float = 0.0) -> None:
    for _ in range(3):
        load.was_silent(partner, now)


def test_a_partner_with_its_hands_full_is_passed_over_and_others_are_not() -> None:
    load = PartnerLoad(at_once=2)

    kept = [load.keep("a", 0.0) for _ in range(3)] + [load.keep("b", 0.0)]

    assert all(kept)
    assert load.full(0.0) == {"a"}


def test_a_partner_has_room_again_when_notices_are_done() -> None:
    load = PartnerLoad(at_once=1)
    load.keep("a", 0.0)
    load.keep("a", 0.0)

    load.let_go("a")

    assert load.full(0.0) == set()


def test_a_silent_partner_gets_one_notice_at_a_time() -> None:
    load = PartnerLoad(at_once=8)
    in_trouble(load, "a")

    kept = [load.keep("a", 60.0) for _ in range(3)]

    assert kept == [True, False, False]


def test_a_silent_partner_rests_longer_each_time_but_not_for_ever() -> None:
    load = PartnerLoad(at_once=8)
    in_trouble(load, "a", now=100.0)

    first = [load.full(100.4), load.full(100.6)]
    for probe in range(1, 50):
        load.was_silent("a", 100.0 + 20 * probe)
    later = [load.full(1089.9), load.full(1090.1)]

    assert first == [{"a"}, set()]
    assert later == [{"a"}, set()]


def test_answers_missing_from_one_burst_are_one_silence() -> None:
    load = PartnerLoad(at_once=8)
    in_trouble(load, "a", now=100.0)

    for _ in range(20):
        load.was_silent("a", 100.1)

    assert load.full(100.6) == set()


def test_one_answer_ends_the_trouble() -> None:
    load = PartnerLoad(at_once=8)
    in_trouble(load, "a")

    was_in_trouble = load.answered("a")

    assert was_in_trouble
    assert not load.answered("a")
    assert load.full(0.0) == set()
