// What every stage needs and none is about: the task queue, sockets on loopback, the interest list.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

// Events that belong to no session; sessions count from 1.
constexpr std::uint64_t STOP = 0, LISTENER = ~0ull;

// The tasks between the reactor and the workers.
template <typename Task>
class Queue {
    std::mutex mutex;
    std::condition_variable changed;
    std::deque<Task> tasks;
    bool closed = false;

  public:
    void push(Task task) {
        std::lock_guard guard(mutex);
        tasks.push_back(std::move(task));
        changed.notify_one();
    }

    // Waits for a task. Nothing comes when the queue is closed and empty.
    std::optional<Task> pop() {
        std::unique_lock guard(mutex);
        changed.wait(guard, [this] { return closed || !tasks.empty(); });
        if (tasks.empty()) return std::nullopt;
        Task task = std::move(tasks.front());
        tasks.pop_front();
        return task;
    }

    void close() {
        std::lock_guard guard(mutex);
        closed = true;
        changed.notify_all();
    }
};

// Passes a system call's result on; ends the program if it is an error.
inline int check(int result, const char* call) {
    if (result < 0) {
        std::perror(call);
        _exit(2);
    }
    return result;
}

// A listening socket on a free port of 127.0.0.1.
inline int listen_on_loopback() {
    const int listener = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), "socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address), "bind");
    check(listen(listener, 16), "listen");
    return listener;
}

// A client's socket, connected to `listener`.
inline int connect_to(int listener) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    check(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length), "getsockname");
    const int client = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    check(connect(client, reinterpret_cast<sockaddr*>(&address), length), "connect");
    return client;
}

inline void send_all(int socket, const std::string& bytes) {
    check(send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL), "send");
}

// close(2) with a reset instead of the orderly end.
inline void reset(int socket) {
    const linger at_once{1, 0};
    check(setsockopt(socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), "setsockopt");
    close(socket);
}

// epoll_ctl(2): adds `fd` to the interest list, or with EPOLL_CTL_MOD arms it again.
inline void watch(int epoll, int operation, int fd, std::uint32_t events, std::uint64_t token) {
    epoll_event event{};
    event.events = events;
    event.data.u64 = token;
    check(epoll_ctl(epoll, operation, fd, &event), "epoll_ctl");
}
