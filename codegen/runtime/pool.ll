; The pool of threads: fork-join for parallel loops. A job is task(argument, 0), …, task(argument,
; tasks - 1), cut into parts; part p of n is the tasks p, p + n, p + 2n, …
;
; Whoever has the pool publishes a job by a new @word: jobs so far in the high 48 bits, its parts in
; the low 16. A thread owns a part when it has moved @claims[part] up to the job's word. So the
; caller can do all parts itself: no progress depends on a worker that has not claimed anything,
; and a worker that comes late finds nothing left, for claims and words only grow.
;
; Waiting is spinning for a while (not where there are more threads than cores), then a futex.
; A second caller, and a nested one, finds the pool taken and runs its tasks itself. @owner holds
; the process id of who has the pool: after a fork, the pool of the parent is taken for free.

@word = internal global i64 0, align 64
@sleepers = internal global i32 0, align 64      ; workers that wait for @word to change, or are about to
@pending = internal global i32 0, align 64       ; parts of the job that are not done
@waiting = internal global i32 0                 ; whether the caller sleeps until @pending is 0
@owner = internal global i32 0, align 64         ; the process of the thread that has the pool, or 0
@process = internal global i32 0                 ; the process whose threads the workers are
@workers = internal global i32 0
@spins = internal global i32 0                   ; how often a worker looks before it sleeps
@stopping = internal global i32 0
@task = internal global ptr null, align 64       ; the job, written by the owner alone
@argument = internal global ptr null
@tasks = internal global i64 0
@claims = internal global [$MOST x i64] zeroinitializer, align 64
@handles = internal global [$MOST x i64] zeroinitializer

declare i32 @pthread_create(ptr, ptr, ptr, ptr)
declare i32 @pthread_join(i64, ptr)
declare i32 @pthread_sigmask(i32, ptr, ptr)
declare i32 @getpid()
declare i64 @syscall(i64, ...)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
$DECLARE_PAUSE

; Every task, on the pool where it is free, else here.
define internal void @pool_run(ptr %context, ptr %task, ptr %argument, i64 %tasks) nounwind {
entry:
  %many = icmp sgt i64 %tasks, 1
  br i1 %many, label %try, label %alone
try:
  %process = call i32 @getpid()
  %had = call i1 @acquire(i32 %process)
  br i1 %had, label %shared, label %alone
alone:
  call void @run_tasks(ptr %task, ptr %argument, i64 0, i64 %tasks, i64 1)
  ret void
shared:
  %fits = icmp slt i64 %tasks, $MOST
  %parts = select i1 %fits, i64 %tasks, i64 $MOST
  %wanted = trunc i64 %parts to i32
  %others = sub i32 %wanted, 1
  call void @start_workers(i32 %others, i32 %process)
  store ptr %task, ptr @task
  store ptr %argument, ptr @argument
  store i64 %tasks, ptr @tasks
  store atomic i32 %wanted, ptr @pending monotonic, align 4
  %new = call i64 @next_word(i64 %parts)
  store atomic i64 %new, ptr @word seq_cst, align 8
  %sleepers = load atomic i32, ptr @sleepers seq_cst, align 4
  %asleep = icmp sgt i32 %sleepers, 0
  br i1 %asleep, label %wake, label %work
wake:
  call void @futex_wake(ptr @word, i32 %others)
  br label %work
work:
  call void @take_parts(i64 %new, i64 0)
  call void @join()
  store atomic i32 0, ptr @owner release, align 4
  ret void
}

; Tasks first, first + step, … below the end.
define internal void @run_tasks(ptr %task, ptr %argument, i64 %first, i64 %end, i64 %step) nounwind {
entry:
  %any = icmp slt i64 %first, %end
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ %first, %entry ], [ %next, %loop ]
  call void %task(ptr %argument, i64 %i)
  %next = add i64 %i, %step
  %more = icmp slt i64 %next, %end
  br i1 %more, label %loop, label %done
done:
  ret void
}

; Whether the pool is this thread's now; a lock that another process held is one from before a fork.
define internal i1 @acquire(i32 %process) nounwind {
entry:
  %first = cmpxchg ptr @owner, i32 0, i32 %process seq_cst monotonic
  %free = extractvalue { i32, i1 } %first, 1
  br i1 %free, label %taken, label %held
held:
  %holder = extractvalue { i32, i1 } %first, 0
  %ours = icmp eq i32 %holder, %process
  br i1 %ours, label %busy, label %stale
stale:
  %second = cmpxchg ptr @owner, i32 %holder, i32 %process seq_cst monotonic
  %won = extractvalue { i32, i1 } %second, 1
  br i1 %won, label %taken, label %busy
taken:
  ret i1 true
busy:
  ret i1 false
}

; The parts of the job `word` that nobody has claimed, beginning with part `first`.
define internal void @take_parts(i64 %word, i64 %first) nounwind {
entry:
  %parts = and i64 %word, 65535
  %none = icmp eq i64 %parts, 0
  br i1 %none, label %done, label %part
part:
  %k = phi i64 [ 0, %entry ], [ %k.next, %continue ]
  %at = add i64 %first, %k
  %p = urem i64 %at, %parts
  %claim = getelementptr i64, ptr @claims, i64 %p
  %last = load atomic i64, ptr %claim monotonic, align 8
  %open = icmp ult i64 %last, %word
  br i1 %open, label %try, label %continue
try:
  %tried = cmpxchg ptr %claim, i64 %last, i64 %word seq_cst monotonic
  %got = extractvalue { i64, i1 } %tried, 1
  br i1 %got, label %run, label %continue
run:                                             ; the job lasts until this part is done
  %task = load ptr, ptr @task
  %argument = load ptr, ptr @argument
  %tasks = load i64, ptr @tasks
  call void @run_tasks(ptr %task, ptr %argument, i64 %p, i64 %tasks, i64 %parts)
  %before = atomicrmw sub ptr @pending, i32 1 seq_cst
  %was_last = icmp eq i32 %before, 1
  br i1 %was_last, label %finished, label %continue
finished:
  %sleeps = load atomic i32, ptr @waiting seq_cst, align 4
  %wake = icmp ne i32 %sleeps, 0
  br i1 %wake, label %wake_caller, label %continue
wake_caller:
  call void @futex_wake(ptr @pending, i32 1)
  br label %continue
continue:
  %k.next = add i64 %k, 1
  %more = icmp ult i64 %k.next, %parts
  br i1 %more, label %part, label %done
done:
  ret void
}

; Until all parts are done.
define internal void @join() nounwind {
entry:
  %spins = load i32, ptr @spins
  br label %look
look:
  %left = phi i32 [ %spins, %entry ], [ %left.next, %pause ]
  %pending = load atomic i32, ptr @pending acquire, align 4
  %over = icmp eq i32 %pending, 0
  br i1 %over, label %done, label %again
again:
  %tired = icmp eq i32 %left, 0
  br i1 %tired, label %sleep, label %pause
pause:
  $PAUSE
  %left.next = sub i32 %left, 1
  br label %look
sleep:
  store atomic i32 1, ptr @waiting seq_cst, align 4
  br label %check
check:
  %still = load atomic i32, ptr @pending seq_cst, align 4
  %some = icmp ne i32 %still, 0
  br i1 %some, label %wait, label %awake
wait:
  call void @futex_wait(ptr @pending, i32 %still)
  br label %check
awake:
  store atomic i32 0, ptr @waiting seq_cst, align 4
  br label %done
done:
  ret void
}

; A worker's life: `number` is 1 for the first.
define internal ptr @worker(ptr %number) nounwind {
entry:
  %first = ptrtoint ptr %number to i64
  br label %watch
watch:
  %seen = phi i64 [ 0, %entry ], [ %seen, %rested ], [ %word, %work ]
  %spins = load atomic i32, ptr @spins monotonic, align 4
  br label %look
look:
  %left = phi i32 [ %spins, %watch ], [ %left.next, %pause ]
  %word = load atomic i64, ptr @word acquire, align 8
  %news = icmp ne i64 %word, %seen
  br i1 %news, label %called, label %again
again:
  %tired = icmp eq i32 %left, 0
  br i1 %tired, label %sleep, label %pause
pause:
  $PAUSE
  %left.next = sub i32 %left, 1
  br label %look
sleep:
  %others = atomicrmw add ptr @sleepers, i32 1 seq_cst
  %latest = load atomic i64, ptr @word seq_cst, align 8
  %same = icmp eq i64 %latest, %seen
  br i1 %same, label %wait, label %rested
wait:
  %low = trunc i64 %seen to i32
  call void @futex_wait(ptr @word, i32 %low)
  br label %rested
rested:
  %sleeping = atomicrmw sub ptr @sleepers, i32 1 seq_cst
  br label %watch
called:
  %stop = load atomic i32, ptr @stopping seq_cst, align 4
  %over = icmp ne i32 %stop, 0
  br i1 %over, label %done, label %work
work:
  call void @take_parts(i64 %word, i64 %first)
  br label %watch
done:
  ret ptr null
}

; At least `wanted` workers of this process, or as many as the system gives. They take no signals.
define internal void @start_workers(i32 %wanted, i32 %process) nounwind {
entry:
  %all = alloca [16 x i64], align 16
  %before = alloca [16 x i64], align 16
  %creator = load i32, ptr @process
  %mine = icmp eq i32 %creator, %process
  br i1 %mine, label %count, label %forget
forget:                                          ; after a fork, and the first time
  store i32 %process, ptr @process
  store i32 0, ptr @workers
  store atomic i32 0, ptr @sleepers monotonic, align 4
  store atomic i32 0, ptr @waiting monotonic, align 4
  store atomic i32 0, ptr @stopping monotonic, align 4
  br label %count
count:
  %there = load i32, ptr @workers
  %enough = icmp sge i32 %there, %wanted
  br i1 %enough, label %done, label %mask
mask:
  call void @llvm.memset.p0.i64(ptr %all, i8 -1, i64 128, i1 false)
  %masked = call i32 @pthread_sigmask(i32 2, ptr %all, ptr %before)
  %cores = call i64 @usable_cores()
  br label %start
start:
  %n = phi i32 [ %there, %mask ], [ %n.next, %started ]
  %n.next = add i32 %n, 1
  %place = sext i32 %n to i64
  %handle = getelementptr i64, ptr @handles, i64 %place
  %number.wide = sext i32 %n.next to i64
  %number = inttoptr i64 %number.wide to ptr
  %threads = add i64 %number.wide, 1
  %crowded = icmp sgt i64 %threads, %cores
  %spins = select i1 %crowded, i32 0, i32 $SPINS
  store atomic i32 %spins, ptr @spins monotonic, align 4
  %failed = call i32 @pthread_create(ptr %handle, ptr null, ptr @worker, ptr %number)
  %fine = icmp eq i32 %failed, 0
  br i1 %fine, label %started, label %unmask
started:
  store i32 %n.next, ptr @workers
  %more = icmp slt i32 %n.next, %wanted
  br i1 %more, label %start, label %unmask
unmask:
  %unmasked = call i32 @pthread_sigmask(i32 2, ptr %before, ptr null)
  br label %done
done:
  ret void
}

; Ends the workers and waits for them: before the code goes away. The next job starts new ones.
; Where another thread has the pool, which is then in use, nothing ends.
define weak hidden void @stepwell.pool.stop() nounwind {
entry:
  %process = call i32 @getpid()
  %had = call i1 @acquire(i32 %process)
  br i1 %had, label %check, label %done
check:
  %creator = load i32, ptr @process
  %mine = icmp eq i32 %creator, %process
  br i1 %mine, label %stop, label %release
stop:
  store atomic i32 1, ptr @stopping seq_cst, align 4
  %word = call i64 @next_word(i64 0)
  store atomic i64 %word, ptr @word seq_cst, align 8
  call void @futex_wake(ptr @word, i32 2147483647)
  %workers = load i32, ptr @workers
  br label %next
next:
  %n = phi i32 [ 0, %stop ], [ %n.next, %join ]
  %left = icmp slt i32 %n, %workers
  br i1 %left, label %join, label %stopped
join:
  %place = sext i32 %n to i64
  %at = getelementptr i64, ptr @handles, i64 %place
  %handle = load i64, ptr %at
  %joined = call i32 @pthread_join(i64 %handle, ptr null)
  %n.next = add i32 %n, 1
  br label %next
stopped:
  store i32 0, ptr @process
  br label %release
release:
  store atomic i32 0, ptr @owner release, align 4
  br label %done
done:
  ret void
}

; What @word becomes for a job of so many parts.
define internal i64 @next_word(i64 %parts) nounwind {
  %old = load atomic i64, ptr @word monotonic, align 8
  %old.count = lshr i64 %old, 16
  %count = add i64 %old.count, 1
  %high = shl i64 %count, 16
  %new = or i64 %high, %parts
  ret i64 %new
}

define internal void @futex_wait(ptr %place, i32 %while) nounwind {
  %status = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %place, i64 128, i32 %while, ptr null)
  ret void
}

define internal void @futex_wake(ptr %place, i32 %count) nounwind {
  %status = call i64 (i64, ...) @syscall(i64 $FUTEX, ptr %place, i64 129, i32 %count)
  ret void
}
