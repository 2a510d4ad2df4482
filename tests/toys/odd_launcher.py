"""Somebody else's back end: backwards, in this process, and it counts its jobs."""

done: list[int] = []


def run(job, count, workers):
    for index in reversed(range(count)):
        result = job(index)
        done.append(workers)
        yield index, result
