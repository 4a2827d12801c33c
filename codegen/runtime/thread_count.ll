; How many threads a pool has where nobody says: STEPWELL_THREADS, else OMP_NUM_THREADS, else the
; cores that this process may use: its affinity mask, and its control group's quota. Asked once.

@default_threads = internal global i64 0
@name.stepwell = internal constant [17 x i8] c"STEPWELL_THREADS\00"
@name.openmp = internal constant [16 x i8] c"OMP_NUM_THREADS\00"
@name.quota = internal constant [23 x i8] c"/sys/fs/cgroup/cpu.max\00"

declare ptr @getenv(ptr)
declare i64 @strtol(ptr, ptr, i32)
declare i32 @sched_getaffinity(i32, i64, ptr)
declare i32 @open(ptr, i32, ...)
declare i64 @read(i32, ptr, i64)
declare i32 @close(i32)
declare i64 @llvm.ctpop.i64(i64)
declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)

; Between 1 and $MOST.
define internal i64 @thread_count() nounwind {
entry:
  %known = load atomic i64, ptr @default_threads monotonic, align 8
  %asked = icmp ne i64 %known, 0
  br i1 %asked, label %done, label %environment
environment:
  %own = call i64 @number_in_environment(ptr @name.stepwell)
  %said = icmp sgt i64 %own, 0
  br i1 %said, label %keep, label %openmp
openmp:
  %theirs = call i64 @number_in_environment(ptr @name.openmp)
  %set = icmp sgt i64 %theirs, 0
  br i1 %set, label %keep, label %machine
machine:
  %cores = call i64 @usable_cores()
  br label %keep
keep:
  %found = phi i64 [ %own, %environment ], [ %theirs, %openmp ], [ %cores, %machine ]
  %count = call i64 @llvm.smin.i64(i64 %found, i64 $MOST)
  store atomic i64 %count, ptr @default_threads monotonic, align 8
  br label %done
done:
  %result = phi i64 [ %known, %entry ], [ %count, %keep ]
  ret i64 %result
}

; The number that a variable's text begins with; 0 where there is none.
define internal i64 @number_in_environment(ptr %name) nounwind {
entry:
  %text = call ptr @getenv(ptr %name)
  %unset = icmp eq ptr %text, null
  br i1 %unset, label %none, label %some
some:
  %number = call i64 @strtol(ptr %text, ptr null, i32 10)
  ret i64 %number
none:
  ret i64 0
}

; Cores in the affinity mask, no more than the quota pays for; at least 1.
define internal i64 @usable_cores() nounwind {
entry:
  %mask = alloca [128 x i64], align 16
  call void @llvm.memset.p0.i64(ptr %mask, i8 0, i64 1024, i1 false)
  %status = call i32 @sched_getaffinity(i32 0, i64 1024, ptr %mask)
  br label %word
word:
  %i = phi i64 [ 0, %entry ], [ %i.next, %word ]
  %sum = phi i64 [ 0, %entry ], [ %sum.next, %word ]
  %place = getelementptr i64, ptr %mask, i64 %i
  %bits = load i64, ptr %place
  %ones = call i64 @llvm.ctpop.i64(i64 %bits)
  %sum.next = add i64 %sum, %ones
  %i.next = add i64 %i, 1
  %more = icmp ult i64 %i.next, 128
  br i1 %more, label %word, label %quota
quota:
  %paid = call i64 @cores_paid_for()
  %usable = call i64 @llvm.smin.i64(i64 %sum.next, i64 %paid)
  %cores = call i64 @llvm.smax.i64(i64 %usable, i64 1)
  ret i64 %cores
}

; The control group's quota by its period ("200000 100000" is 2); $MOST where there is none ("max").
define internal i64 @cores_paid_for() nounwind {
entry:
  %text = alloca [64 x i8], align 16
  %end = alloca ptr, align 8
  call void @llvm.memset.p0.i64(ptr %text, i8 0, i64 64, i1 false)
  %file = call i32 (ptr, i32, ...) @open(ptr @name.quota, i32 524288)            ; O_RDONLY | O_CLOEXEC
  %absent = icmp slt i32 %file, 0
  br i1 %absent, label %unlimited, label %there
there:
  %length = call i64 @read(i32 %file, ptr %text, i64 63)
  %closed = call i32 @close(i32 %file)
  %quota = call i64 @strtol(ptr %text, ptr %end, i32 10)
  %rest = load ptr, ptr %end
  %period = call i64 @strtol(ptr %rest, ptr null, i32 10)
  %limited = icmp sgt i64 %quota, 0
  %sane = icmp sgt i64 %period, 0
  %both = and i1 %limited, %sane
  br i1 %both, label %divide, label %unlimited
divide:
  %cores = sdiv i64 %quota, %period
  ret i64 %cores
unlimited:
  ret i64 $MOST
}
