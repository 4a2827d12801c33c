; The pool on a system whose threads the runtime does not know: the calling thread alone.

declare i64 @llvm.smin.i64(i64, i64)
declare i64 @llvm.smax.i64(i64, i64)

define internal void @pool_run(ptr %context, ptr %task, ptr %argument, i64 %tasks) nounwind {
entry:
  %any = icmp sgt i64 %tasks, 0
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  call void %task(ptr %argument, i64 %i)
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %tasks
  br i1 %more, label %loop, label %done
done:
  ret void
}

define weak hidden void @stepwell.pool.stop() nounwind {
  ret void
}

define internal i64 @thread_count() nounwind {
  ret i64 1
}
