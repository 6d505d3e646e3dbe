"use strict";
// Nothing here is needed to read the page: ages go on counting, and a task shows what it is tied to.

const units = [["s", 60], ["min", 60], ["h", 48], ["days", Infinity]];

function age(seconds) {
  for (const [unit, length] of units) {
    if (seconds < length) return `${Math.floor(seconds)} ${unit} ago`;
    seconds /= unit === "h" ? 24 : 60;
  }
}

function count() {
  for (const time of document.querySelectorAll("time[datetime]"))
    time.textContent = age(Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000));
}

count();
setInterval(count, 10_000);

for (const plane of document.querySelectorAll(".plane")) {
  const lines = [...plane.querySelectorAll("path")];

  function follow(event) {
    const task = event.target.closest("a")?.dataset.task;
    const mine = lines.filter((line) => line.dataset.from === task || line.dataset.to === task);
    const ends = new Set([task, ...mine.flatMap((line) => [line.dataset.from, line.dataset.to])]);
    plane.classList.toggle("following", task !== undefined);
    for (const line of lines) line.classList.toggle("followed", mine.includes(line));
    for (const box of plane.querySelectorAll("a")) box.classList.toggle("followed", ends.has(box.dataset.task));
  }

  function leave() {
    plane.classList.remove("following");
  }

  plane.addEventListener("mouseover", follow);
  plane.addEventListener("focusin", follow);
  plane.addEventListener("mouseleave", leave);
  plane.addEventListener("focusout", leave);
}
