// The order in which threads pass named points, so that a race happens every time and without a sleep.
//
// A step is a role and a point. A role runs from the point of its step to the point of its next step; meanwhile the
// others stand still. A role without a step waits at its first point until the order is through; a point that is not
// the role's next step is passed freely. When the turn comes to a role that waits for a lock, its step is *refused*:
// the order goes on without it.
//
// Everything here is relaxed atomics, and the waiting is futex(2), called directly: a mutex or an acquire would order
// the memory of the threads too, and ThreadSanitizer would rightly see no race any more. This orders them by the clock
// alone.
#pragma once

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <linux/futex.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

class Order {
    using Step = std::pair<std::string, std::string>;
    static constexpr auto relaxed = std::memory_order_relaxed;
    static constexpr timespec limit{10, 0};

    std::vector<Step> steps;
    // The low half: twice the number of steps that are passed, and 1 more while the role of the last of them runs. The
    // high half: a step of the role that waits for a lock (with two workers there is at most one), counted from 1; or 0.
    std::atomic<std::uint32_t> state{0};
    // One bit a step.
    std::atomic<std::uint64_t> refused{0};
    static inline thread_local const char* role = "main";
    static bool mine(const Step& step) { return step.first == role; }

  public:
    // At the end of the program, when the order was kept to the last step that could be taken.
    ~Order() {
        for (std::size_t n = 0; n < steps.size(); ++n)
            if (refused.load(relaxed) >> n & 1)
                std::printf("refused: %s %s (it waited for a lock)\n", steps[n].first.c_str(), steps[n].second.c_str());
    }

    // At most 64 steps, before the first thread starts.
    void play(std::vector<Step> list) { steps = std::move(list); }

    // Names the calling thread, here and in the reports of the sanitizers.
    static void act_as(const char* name) { prctl(PR_SET_NAME, role = name); }

    void point(const char* name) {
        std::atomic_signal_fence(std::memory_order_seq_cst); // the compiler moves nothing past a point, either way
        const bool extra = std::none_of(steps.begin(), steps.end(), mine);
        for (;;) {
            std::uint32_t now = state.load(relaxed);
            const auto next = steps.begin() + (now & 0xffff) / 2;
            const auto turn = std::find_if(next, steps.end(), mine);
            const bool listed = turn != steps.end() && turn->second == name;
            if ((listed || turn == steps.end()) && stands_still(now)) continue;
            if (extra ? next == steps.end() : !listed) break;
            if (now % 2 == 0 && next == turn && listed) {
                if (change(now, now + 3)) break;
                continue;
            }
            if (now % 2 == 0 && now >> 16 && next->first == steps[(now >> 16) - 1].first) {
                if (change(now, now + 2)) refused.fetch_or(1ull << (next - steps.begin()), relaxed);
                continue;
            }
            const bool waited = syscall(SYS_futex, &state, FUTEX_WAIT_PRIVATE, now, &limit, nullptr, 0) == 0;
            if (!waited && errno == ETIMEDOUT) {
                std::fprintf(stderr, "the order came to a halt: %s at %s, after step %u\n", role, name, (now & 0xffff) / 2);
                _exit(70);
            }
        }
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }

    // The caller begins to wait for a lock, or has it now.
    void waits(bool yes) {
        const auto step = std::find_if(steps.begin(), steps.end(), mine);
        if (step == steps.end()) return;
        const std::uint32_t self = static_cast<std::uint32_t>(step - steps.begin() + 1) << 16;
        for (;;) {
            std::uint32_t now = state.load(relaxed);
            if (change(now, yes ? now | self : now & 0xffff)) break;
        }
        while (yes && stands_still(state.load(relaxed))) {}
    }

  private:
    // If it is the caller that runs, it has come to its next point, or cannot move.
    bool stands_still(std::uint32_t now) {
        if (now % 2 == 0 || !mine(steps[(now & 0xffff) / 2 - 1])) return false;
        change(now, now - 1);
        return true;
    }

    bool change(std::uint32_t from, std::uint32_t to) {
        const bool changed = state.compare_exchange_strong(from, to, relaxed);
        if (changed) syscall(SYS_futex, &state, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
        return changed;
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
