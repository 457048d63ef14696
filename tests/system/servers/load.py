# SPDX-License-Identifier: MIT
"""
Asks a server for numbers, in parallel, until there were so many requests or, if that is 0, until
the file STOP is there. Adds a byte to PROGRESS for each answer that is right. Prints how many
answers were right, how many wrong, that is those that name another number, and how many requests
failed.

    load.py http PORT PATH THREADS REQUESTS PROGRESS STOP
    load.py fcgi SOCKET SCRIPT?QUERY THREADS REQUESTS PROGRESS STOP

The number is appended to PATH or QUERY.
"""
import os
import sys
import threading
import time

import ask

kind, place, path, threads, requests = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
progress = os.open(sys.argv[6], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
stop = sys.argv[7]
end = time.monotonic() + 100


def request(number):
    if kind == "http":
        return ask.http(int(place), f"{path}{number}")
    script, query = path.split("?")
    return ask.fcgi(place, script, f"{query}{number}", os.environ["REDIS_PORT"])


right, wrong, failed = [0] * threads, [], []


def work(index):
    turn, turns = 0, requests // threads + (index < requests % threads)
    while turn < turns if requests else not os.path.exists(stop):
        number = index * 1000000 + turn
        turn += 1
        if time.monotonic() > end:
            failed.append("no end")
            return
        try:
            answer = request(number)
        except (OSError, IndexError) as error:
            failed.append(repr(error))
            time.sleep(0.01)
            continue
        if answer == str(number):
            right[index] += 1
            os.write(progress, b".")
        elif answer.startswith("wrong") or answer.isdigit():
            wrong.append("%s for %d" % (answer, number))
        else:
            failed.append(answer[:300])


workers = [threading.Thread(target=work, args=(index,)) for index in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("right %d wrong %d failed %d" % (sum(right), len(wrong), len(failed)))
for each in wrong[:5] + failed[:5]:
    print(each, file=sys.stderr)
