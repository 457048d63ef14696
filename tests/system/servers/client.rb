# SPDX-License-Identifier: MIT
# A client of clients.sh, by Ruby's redis: so many processes, which each write and read numbers in
# all ways. Prints how many of their turns were right. client.rb PORT PROCESSES TURNS
require 'redis'

port, processes, turns = ARGV.map(&:to_i)

# What went wrong, or nil.
def turn(redis, number)
  key = "ruby:#{number}"
  redis.set(key, number)
  return 'get' unless redis.get(key) == number
  return 'multi' unless redis.multi { |t| t.get(key); t.incr('count') }[0] == number
  return 'pipeline' unless redis.pipelined { |p| p.get(key); p.echo("e#{number}") } ==
                           [number, "e#{number}"]
end

pids = (1..processes).map do |index|
  fork do
    redis = Redis.new(host: '127.0.0.1', port: port)
    wrong = (1..turns).map { |i| turn(redis, "#{index}-#{i}") }.compact
    warn wrong.first unless wrong.empty?
    exit!(wrong.empty?)
  end
end
puts "right #{pids.count { |pid| Process.wait2(pid)[1].success? } * turns}"
