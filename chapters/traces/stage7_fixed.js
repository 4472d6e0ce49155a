labData("stage7_fixed", {
"file":"lab/stages/stage7_fixed.rs",
"flows":[[6,8,"unlock to lock"],[8,10,"unlock to lock"],[9,11,"notify to woken"]],
"roles":["main","operator","worker-1"],
"rows":[
[1,"worker-1","lock the queue",null,70,[[["listener","IN RDHUP","on"]],[["lock","held by worker-1","on"]],[],[]],[]],
[2,"operator","tells the server to stop",null,null,[[["listener","IN RDHUP","on"]],[["lock","held by worker-1","on"],["order to stop","given","on"]],[],[]],[]],
[3,"main","epoll_wait: stop",null,221,[[],[["lock","held by worker-1","on"],["order to stop","given","on"]],[],[]],[]],
[null,"main","lock the table",null,177,[[],[["lock","held by worker-1","on"],["order to stop","given","on"]],[],[]],[]],
[4,"main","waits for the queue's lock (worker-1 has it)","refused",null,[[],[["lock","held by worker-1","on"],["order to stop","given","on"]],[],[]],[]],
[6,"worker-1","sleep in the queue",null,81,[[],[["lock","held by worker-1","on"],["worker-1","sleeps until notified","off"],["order to stop","given","on"]],[],[]],[]],
[null,"worker-1","unlock the queue",null,81,[[],[["lock","free","off"],["worker-1","sleeps until notified","off"],["order to stop","given","on"]],[],[]],[]],
[null,"worker-1","waits for a notification","refused",null,[[],[["lock","free","off"],["worker-1","sleeps until notified","off"],["order to stop","given","on"]],[],[]],[]],
[null,"main","lock the queue",null,89,[[],[["lock","free","off"],["worker-1","sleeps until notified","off"],["order to stop","given","on"]],[],[]],[]],
[5,"main","notify: 1 of 1 asleep","late",92,[[],[["lock","free","off"],["order to stop","given","on"]],[],[]],[]],
[null,"worker-1","lock the queue",null,81,[[],[["lock","held by worker-1","on"],["order to stop","given","on"]],[],[]],[]],
[null,"worker-1","woken",null,81,[[],[["lock","free","off"],["order to stop","given","on"]],[],[]],[]],
[null,null,"the schedule is over; everybody goes on, and the server stops",null,null,[[],[["lock","free","off"],["order to stop","given","on"]],[],[]],[]]
],
"sections":["Interest list","Task queue","Memory","Socket"],
"signal":null,
"stage":"stage7_fixed",
"title":"told to stop under the lock; last bytes read first",
});
