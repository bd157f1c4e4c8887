"use strict";

// Times in the reader's own time zone, in the words of the page.
function localTimes(root) {
  for (const element of root.querySelectorAll("time[data-form]")) {
    element.title = element.dateTime;
    element.textContent = formatted(new Date(element.dateTime), element.dataset.form);
  }
}

function formatted(time, form) {
  const day = { day: "numeric", month: "short" };
  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (time.getFullYear() !== new Date().getFullYear()) day.year = "numeric";
  if (form === "second") clock.second = "2-digit";
  if (form === "second" && time.toDateString() === new Date().toDateString()) {
    return new Intl.DateTimeFormat("en-GB", clock).format(time);
  }
  return new Intl.DateTimeFormat("en-GB", { ...day, ...clock }).format(time);
}

localTimes(document);
