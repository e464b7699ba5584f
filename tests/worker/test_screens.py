"""Screens that follow a worker: several, late ones, slow ones, and those that are killed."""

from __future__ import annotations

import threading

import pytest

from microscope_tui.errors import MicroscopeError
from microscope_tui.store import Store
from microscope_tui.terms import JobKind, JobState
from microscope_tui.worker.client import Client
from microscope_tui.worker.place import is_held
from tests.sure import sure
from tests.worker.conftest import DEADLINE, Box, until


def test_two_screens_follow_and_a_late_one_sees_the_progress_at_once(box: Box) -> None:
    """The job stands still meanwhile, so that no news comes but what a screen is told first."""
    with box.client() as client:
        job = client.submit(box.request("gate"))
        box.running(client, job.id)
        with Client.connect(box.cache, start=False) as late:
            streams = [client.follow(), late.follow()]
            for stream in streams:
                first = sure(next(event for event in stream if event.kind == "job").job)
                assert (first.id, first.state, first.progress.done) == (job.id, JobState.RUNNING, 3)
                assert next(stream).kind == "partial"
            with Store(box.cache, read_only=True) as store:
                assert sure(store.partial(job.id)).complete is False
            box.open()
            for stream in streams:
                numbers, last = [], None
                for event in stream:
                    numbers.append(event.number)
                    if event.kind == "job" and sure(event.job).state.ended:
                        last = event.job
                        break
                assert sure(last).state is JobState.DONE
                assert numbers == sorted(set(numbers))


def test_screens_hear_of_a_look_as_soon_as_there_is_something_of_it(box: Box) -> None:
    with box.client() as client:
        events = client.follow()
        client.submit(box.request("quick", "b"))
        next(event for event in events if event.job and event.job.state.ended)
        request = box.request("layers")
        look = client.submit(request, JobKind.TSNE)
        own = (event for event in events if event.job and event.job.id == look.id)
        told = next(event for event in own if event.kind == "partial" or sure(event.job).state.ended)
        assert told.kind == "partial"
        with Store(box.cache, read_only=True) as store:
            assert store.recall_look(request, JobKind.TSNE, None) == {"seen": "the first layer"}
        box.open()
        assert box.ended(client, look.id).state is JobState.DONE


def test_following_ends_when_the_client_is_closed_and_when_the_worker_stops(box: Box) -> None:
    client, other = box.client(), box.client()
    client.submit(box.request("gate"))
    ended: list[str] = []
    seen = threading.Semaphore(0)

    def follow(who: Client, name: str) -> None:
        for _ in who.follow():
            seen.release()
        ended.append(name)

    threads = [threading.Thread(target=follow, args=pair) for pair in ((client, "closed"), (other, "stopped"))]
    for thread in threads:
        thread.start()
        assert seen.acquire(timeout=DEADLINE)
    until(lambda: client.status().screens == 2, "both to follow")
    client.close()
    threads[0].join(DEADLINE)
    assert ended == ["closed"]
    assert list(client.follow()) == [], "who closes before the other side follows is heard too"
    other.stop()
    threads[1].join(DEADLINE)
    assert ended == ["closed", "stopped"]
    assert not is_held(box.cache)


def test_a_follower_is_told_when_the_worker_dies(box: Box) -> None:
    with box.client() as client:
        client.submit(box.request("gate"))
        stream = client.follow()
        next(stream)
        box.kill()
        with pytest.raises(MicroscopeError, match="has died"):
            list(stream)


def test_a_runner_that_reports_without_pause_does_not_flood_the_screens(box: Box) -> None:
    with box.client() as client:
        stream = client.follow()
        job = client.submit(box.request("chatty"))
        events = []
        for event in stream:
            events.append(event)
            if event.kind == "job" and (ended := sure(event.job)).id == job.id and ended.state.ended:
                break
        assert ended.state is JobState.DONE
        seconds = sure(ended.ended) - sure(ended.started)
        assert sum(each.kind == "job" for each in events) <= 4 * seconds + 6
