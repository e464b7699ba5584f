"""What is known of each request, and which news may change it."""

from dataclasses import replace

import pytest

from microscope_tui.terms import Job, JobState, Request
from microscope_tui.tui.data.desk import Desk
from microscope_tui.tui.data.variants import near
from tests.tui.fake import MODELS, SLICE, made_up

REQUEST = Request(MODELS[0], SLICE)
JOB = Job("1", REQUEST, created=10.0)


@pytest.fixture
def desk() -> Desk:
    desk = Desk()
    desk.forget(REQUEST)
    return desk


def test_a_partial_result_never_replaces_the_complete_one(desk: Desk):
    complete, partial = made_up(), made_up(complete=False)
    desk.measured(REQUEST, partial)
    assert desk.of(REQUEST).measurement is partial
    desk.measured(REQUEST, complete)
    desk.measured(REQUEST, partial)
    assert desk.of(REQUEST).measurement is complete


def test_news_of_an_older_job_of_the_same_request_is_not_taken(desk: Desk):
    desk.job(JOB)
    desk.job(replace(JOB, id="0", created=5.0, state=JobState.FAILED, error="long ago"))
    assert desk.of(REQUEST).error is None
    assert desk.of(REQUEST).job == JOB


def test_a_failed_job_leaves_its_sentence_and_a_new_one_takes_it_away(desk: Desk):
    desk.job(replace(JOB, state=JobState.FAILED, error="no shard 2"))
    assert desk.of(REQUEST).error == "no shard 2"
    desk.job(replace(JOB, id="2", created=20.0))
    assert desk.of(REQUEST).error is None


def test_jobs_of_requests_that_nobody_asked_for_are_listed_only(desk: Desk):
    other = replace(JOB, id="9", request=Request("demo:other", SLICE))
    desk.job(other)
    assert not desk.holds(other.request)
    assert desk.jobs["9"] == other


def test_a_worker_that_goes_leaves_results_and_says_so_where_something_was_awaited(desk: Desk):
    done = Request(MODELS[1], SLICE)
    desk.forget(done)
    desk.measured(done, made_up(MODELS[1]))
    desk.job(replace(JOB, state=JobState.RUNNING))
    desk.worker_gone("The worker has died.")
    assert desk.of(REQUEST).error == "The worker has died."
    assert not desk.of(REQUEST).waiting
    assert desk.of(done).error is None


def test_jobs_ahead_are_the_running_one_and_those_asked_for_before(desk: Desk):
    desk.job(replace(JOB, id="0", created=1.0, state=JobState.RUNNING))
    desk.job(replace(JOB, id="2", created=2.0))
    mine = replace(JOB, id="3", created=3.0)
    desk.job(mine)
    assert desk.ahead(mine) == 2
    desk.list_jobs([desk.jobs["0"], mine, desk.jobs["2"]])
    assert desk.ahead(mine) == 1


def test_asking_anew_keeps_what_was_measured(desk: Desk):
    desk.measured(REQUEST, made_up())
    desk.failed(REQUEST, "gone")
    desk.forget(REQUEST)
    assert desk.of(REQUEST).measurement is not None
    assert desk.of(REQUEST).error is None


def test_news_that_overtook_each_other_do_not_revive_a_job_that_has_ended(desk: Desk):
    done = replace(JOB, state=JobState.DONE)
    desk.job(done)
    desk.job(JOB)
    assert desk.of(REQUEST).job == done
    assert desk.jobs["1"] == done


def test_what_was_asked_for_anew_is_not_given_its_old_job_when_a_worker_is_back(desk: Desk):
    other = Request(MODELS[1], SLICE)
    desk.forget(other)
    desk.job(replace(JOB, state=JobState.RUNNING))
    desk.job(replace(JOB, id="2", request=other))
    desk.worker_gone("The worker has died.")
    desk.forget(other)
    desk.failed(other, "no such model")
    desk.worker_back()
    assert desk.worker is None
    assert desk.of(REQUEST).waiting
    assert desk.of(REQUEST).error is None
    assert desk.of(other).error == "no such model"


def test_variants_that_are_near_are_others_and_each_comes_once():
    usual = Request(MODELS[0], SLICE)
    for request in (usual, replace(usual, without=("sinks",)), replace(usual, one_tile=True, matched=9)):
        found = list(near(request))
        assert request not in found
        assert len(found) == len(set(found))
        assert (usual in found) == (request != usual)
