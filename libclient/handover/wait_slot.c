/* SPDX-License-Identifier: MIT */
/* Wait slots of this process: see wait_slot.h. */
#include "libclient/handover/wait_slot.h"

#include "lendis/mailbox.h"
#include "libclient/membership/attachment.h"
#include "libclient/clock.h"
#include "libclient/result.h"

/* A slot whose mailbox was abandoned to a combiner is not used until that one has let go of it. */
static bool mailbox_is_free(const struct segment *segment, uint32_t slot)
{
    return mail_state(shm_load(&segment->slots[slot].mail)) == MAIL_FREE;
}

bool wait_slot_claim(struct attachment *attachment, uint32_t *slot)
{
    const struct segment *segment = &attachment->segment;
    _Atomic bool *own_busy = &attachment->pool->local->own_slot_busy;
    uint32_t further = segment->slot_max - segment->worker_max;

    if (!atomic_exchange_explicit(own_busy, true, memory_order_acquire)) {
        if (mailbox_is_free(segment, attachment->worker)) {
            *slot = attachment->worker;
            return true;
        }
        atomic_store_explicit(own_busy, false, memory_order_release);
    }
    for (uint32_t i = 0; i < further; i++) {
        uint32_t at = segment->worker_max + (attachment->worker + i) % further;
        shm_u32 *owner = &segment->slots[at].owner;

        if (shm_load32(owner) != 0 || !shm_cas32(owner, 0, 1 + attachment->worker))
            continue;
        if (mailbox_is_free(segment, at)) {
            *slot = at;
            return true;
        }
        shm_cas32(owner, 1 + attachment->worker, 0);
    }
    return false;
}

void wait_slot_release(struct attachment *attachment, uint32_t slot)
{
    if (slot == attachment->worker)
        atomic_store_explicit(&attachment->pool->local->own_slot_busy, false, memory_order_release);
    else
        /* By compare-and-swap: it is another's if this process lost its place. */
        shm_cas32(&attachment->segment.slots[slot].owner, 1 + attachment->worker, 0);
}

void wait_slot_count(const struct attachment *attachment, enum histogram_name name,
                     int64_t start_ns, int result)
{
    uint64_t waited_ns = (uint64_t)(clock_now_ns() - start_ns);

    attachment_count(attachment, COUNTER_waits, 1);
    attachment_count(attachment, COUNTER_wait_ns, waited_ns);
    attachment_measure(attachment, name, waited_ns, 1);
    if (result == LENDIS_E_TIMEOUT || result == LENDIS_E_DOWN || result == RESULT_FAILS_FAST)
        attachment_count(attachment, COUNTER_timeouts, 1);
}
