// The order in which threads pass named points, so that a race happens every time and without a sleep.
//
// A step is a role and a point. A role runs from the point of its step to the point of its next step; meanwhile the
// others stand still. A role without a step waits at its first point until the order is through; a point that is not
// the role's next step is passed freely. When the turn comes to a role that waits for a lock, its step is *refused*:
// the order goes on without it.
//
// Everything here is a relaxed atomic, and the waiting is a loop: a mutex or an acquire would order the memory of the
// threads too, and ThreadSanitizer would rightly see no race any more. This orders them by the clock alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/prctl.h>
#include <unistd.h>

class Order {
    using Step = std::pair<std::string, std::string>;
    static constexpr auto limit = std::chrono::seconds(10);
    static constexpr auto relaxed = std::memory_order_relaxed;

    std::vector<Step> steps;
    // Twice the number of steps that are passed, and 1 more while the role of the last of them runs.
    std::atomic<std::size_t> state{0};
    // The role that waits for a lock. With two workers there is at most one.
    std::atomic<const char*> blocked{nullptr};
    static inline thread_local const char* role = "main";

  public:
    // Before the first thread starts.
    void play(std::vector<Step> list) { steps = std::move(list); }

    // Names the calling thread, here and in the reports of the sanitizers.
    static void act_as(const char* name) { prctl(PR_SET_NAME, role = name); }

    void point(const char* name) {
        std::atomic_signal_fence(std::memory_order_seq_cst); // the compiler moves nothing past a point, either way
        const Step here{role, name};
        const auto mine = [](const Step& step) { return step.first == role; };
        const bool extra = std::none_of(steps.begin(), steps.end(), mine);
        const auto start = std::chrono::steady_clock::now();
        for (;;) {
            std::size_t now = state.load(relaxed);
            const auto next = steps.begin() + now / 2;
            const auto turn = std::find_if(next, steps.end(), mine);
            const bool listed = turn != steps.end() && *turn == here;
            if (listed || turn == steps.end()) stand_still();
            if (extra ? next == steps.end() : !listed) break;
            if (now % 2 == 0 && next != steps.end()) {
                const char* waiter = blocked.load(relaxed);
                if (*next == here) {
                    state.store(now + 3, relaxed);
                    break;
                }
                if (waiter && next->first == waiter && state.compare_exchange_strong(now, now + 2, relaxed))
                    std::fprintf(stderr, "refused: %s %s (it waits for a lock)\n", waiter, next->second.c_str());
            }
            if (std::chrono::steady_clock::now() - start > limit) {
                std::fprintf(stderr, "the order came to a halt: %s waits at %s, after step %zu\n", role, name, now / 2);
                _exit(70);
            }
            std::this_thread::yield();
        }
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }

    void waits(bool yes) {
        blocked.store(yes ? role : nullptr, relaxed);
        if (yes) stand_still();
    }

  private:
    // The role that ran has come to its next point, or cannot move.
    void stand_still() {
        std::size_t now = state.load(relaxed);
        if (now % 2 == 1 && steps[now / 2 - 1].first == role) state.store(now - 1, relaxed);
    }
};

inline Order order;
inline void point(const char* name) { order.point(name); }

// A std::mutex that tells the order when its caller has to wait.
class Mutex {
    std::mutex inner;

  public:
    void lock() {
        if (inner.try_lock()) return;
        order.waits(true);
        inner.lock();
        order.waits(false);
    }
    void unlock() { inner.unlock(); }
};

// What a thread did before it armed a socket again happens before what is done about the socket's next event. The
// kernel sees to that. ThreadSanitizer is told, since not every version takes EPOLL_CTL_MOD for a release: it reports
// then what is truly unordered, and nothing else.
#ifdef __SANITIZE_THREAD__
extern "C" void __tsan_release(void*);
extern "C" void __tsan_acquire(void*);
inline char armed;
inline void before_arming() { __tsan_release(&armed); }
inline void after_waiting() { __tsan_acquire(&armed); }
#else
inline void before_arming() {}
inline void after_waiting() {}
#endif
