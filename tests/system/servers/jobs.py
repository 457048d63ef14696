# SPDX-License-Identifier: MIT
"""
Hands out jobs that return a number, in parallel, with connections of its own. What it prints, and
its last three arguments, are as of load.py.

    jobs.py celery|rq THREADS REQUESTS PROGRESS STOP
"""
import os
import sys
import threading
import time

kind, threads, requests = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
progress = os.open(sys.argv[4], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
stop = sys.argv[5]
LIMIT_S = 20
end = time.monotonic() + 100


def by_celery(number):
    from tasks import echo

    result = echo.delay(number)
    try:
        return result.get(timeout=LIMIT_S, interval=0.01)
    finally:
        result.forget()


def by_rq(number):
    import redis
    import rq
    import work

    connection = redis.Redis(port=int(os.environ["REDIS_PORT"]))
    job = rq.Queue(connection=connection).enqueue(work.echo, number, result_ttl=100)
    limit = time.monotonic() + LIMIT_S
    while time.monotonic() < limit:
        job.refresh()
        if job.is_finished:
            return job.result
        if job.is_failed:
            return "failed"
        time.sleep(0.01)
    return "no answer"


ask = by_celery if kind == "celery" else by_rq
right, wrong, failed = [0] * threads, [], []


def run(index):
    turn, turns = 0, requests // threads + (index < requests % threads)
    while turn < turns if requests else not os.path.exists(stop):
        number = str(index * 1000000 + turn)
        turn += 1
        if time.monotonic() > end:
            failed.append("no end")
            return
        try:
            answer = str(ask(number))
        except Exception as error:  # whatever went wrong, the answer is missing
            failed.append(repr(error))
            time.sleep(0.01)
            continue
        if answer == number:
            right[index] += 1
            os.write(progress, b".")
        elif answer.startswith("wrong") or answer.isdigit():
            wrong.append("%s for %s" % (answer, number))
        else:
            failed.append(answer[:300])


workers = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("right %d wrong %d failed %d" % (sum(right), len(wrong), len(failed)))
for each in wrong[:5] + failed[:5]:
    print(each, file=sys.stderr)
