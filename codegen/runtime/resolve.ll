; What a run's `const stepwell_pool *pool` comes to: { run, context, threads }, none of them missing.
; Without a pool, or with one that has no function, it is the pool that is here.

define weak hidden void @stepwell.pool.resolve(ptr %result, ptr %given) nounwind {
entry:
  %absent = icmp eq ptr %given, null
  br i1 %absent, label %default, label %look
look:
  %run = load ptr, ptr %given
  %context.at = getelementptr { ptr, ptr, i64 }, ptr %given, i32 0, i32 1
  %context = load ptr, ptr %context.at
  %threads.at = getelementptr { ptr, ptr, i64 }, ptr %given, i32 0, i32 2
  %threads = load i64, ptr %threads.at
  %own = icmp eq ptr %run, null
  br i1 %own, label %sized, label %theirs
theirs:
  %some = call i64 @llvm.smax.i64(i64 %threads, i64 1)
  br label %fill
sized:
  %said = icmp sgt i64 %threads, 0
  br i1 %said, label %bounded, label %default
bounded:
  %few = call i64 @llvm.smin.i64(i64 %threads, i64 $MOST)
  br label %fill
default:
  %count = call i64 @thread_count()
  br label %fill
fill:
  %function = phi ptr [ %run, %theirs ], [ @pool_run, %bounded ], [ @pool_run, %default ]
  %object = phi ptr [ %context, %theirs ], [ null, %bounded ], [ null, %default ]
  %number = phi i64 [ %some, %theirs ], [ %few, %bounded ], [ %count, %default ]
  store ptr %function, ptr %result
  %object.at = getelementptr { ptr, ptr, i64 }, ptr %result, i32 0, i32 1
  store ptr %object, ptr %object.at
  %number.at = getelementptr { ptr, ptr, i64 }, ptr %result, i32 0, i32 2
  store i64 %number, ptr %number.at
  ret void
}
