/** @type {import("next").NextConfig} */
export default {
  // Lock files in the directories above are not this project's.
  turbopack: { root: import.meta.dirname },
};
