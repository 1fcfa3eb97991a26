// What buttons of an answer do: play a video from a second on, or hand a video to another part of the page.
// `element` is the answer, `trigger` tells the server, `watch` waits for an answer.
element.addEventListener("click", (event) => {
  const button =
    event.target.closest("button[data-source], button[data-action]") ||
    event.target.closest(".card")?.querySelector(".thumbnail"); // a card plays its best clip
  if (!button || !element.contains(button)) return;
  if (button.dataset.action) {
    const { action, video, start, end } = button.dataset;
    trigger("select", { action, video, start: Number(start), end: Number(end) });
    return;
  }
  const player = element.querySelector("figure.player");
  const video = player.querySelector("video");
  const { source, begin, start, end, name } = button.dataset;
  const from = Math.max(Number(start) - Number(begin), 0);
  const until = Math.max(Number(end) - Number(begin), from + 1); // a clip of one frame lasts a second
  const stop = () => {
    if (video.currentTime < until && video.currentTime >= from) return;
    video.removeEventListener("timeupdate", stop);
    if (video.currentTime >= until && !video.ended) {
      video.pause();
      video.currentTime = until;
    }
  };
  const seek = () => {
    video.currentTime = from;
    video.play().catch(() => {}); // a browser may want a click on the video itself
    if (video.stopAtEnd) video.removeEventListener("timeupdate", video.stopAtEnd);
    video.stopAtEnd = stop;
    video.addEventListener("timeupdate", stop);
  };
  player.hidden = false;
  player.querySelector("figcaption").textContent = `${name} · ${button.getAttribute("aria-label")}`;
  element.querySelectorAll("[aria-current]").forEach((other) => other.removeAttribute("aria-current"));
  button.setAttribute("aria-current", "true");
  if (video.getAttribute("src") !== source) {
    video.setAttribute("src", source);
    video.addEventListener("loadedmetadata", seek, { once: true });
    video.load();
  } else if (video.readyState >= 1) {
    seek();
  } else {
    video.addEventListener("loadedmetadata", seek, { once: true });
    video.load();
  }
  player.scrollIntoView({ block: "nearest", behavior: "smooth" });
});

watch("value", () => {
  const why = element.querySelector("section.why");
  if (why) why.scrollIntoView({ block: "start", behavior: "smooth" });
});
