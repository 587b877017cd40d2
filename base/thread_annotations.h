// What a lock guards and in which order locks are taken, said so that clang checks it
// (-Wthread-safety -Wthread-safety-beta). Other compilers see nothing of it.
#pragma once

#if defined(__clang__)
#define DMCACHE_THREAD_ATTRIBUTE(...) __attribute__((__VA_ARGS__))
#else
#define DMCACHE_THREAD_ATTRIBUTE(...)
#endif

// Of a class: it is a lock, or takes one for as long as an object of it lives.
#define CAPABILITY(name) DMCACHE_THREAD_ATTRIBUTE(capability(name))
#define SCOPED_CAPABILITY DMCACHE_THREAD_ATTRIBUTE(scoped_lockable)

// Of a variable: whoever uses it, or what it points to, has the lock.
#define GUARDED_BY(lock) DMCACHE_THREAD_ATTRIBUTE(guarded_by(lock))
#define PT_GUARDED_BY(lock) DMCACHE_THREAD_ATTRIBUTE(pt_guarded_by(lock))

// Of a lock: a thread that takes both takes this one first, or last.
#define ACQUIRED_BEFORE(...) DMCACHE_THREAD_ATTRIBUTE(acquired_before(__VA_ARGS__))
#define ACQUIRED_AFTER(...) DMCACHE_THREAD_ATTRIBUTE(acquired_after(__VA_ARGS__))

// Of a function: its caller has the lock, or doesn't have it; the function takes it, or gives it
// back.
#define REQUIRES(...) DMCACHE_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define EXCLUDES(...) DMCACHE_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define ACQUIRE(...) DMCACHE_THREAD_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) DMCACHE_THREAD_ATTRIBUTE(release_capability(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS DMCACHE_THREAD_ATTRIBUTE(no_thread_safety_analysis)
